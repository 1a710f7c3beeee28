"""A worker and the ledger that it commits to, as `benchmarks.fleet.model` says. Times are in seconds."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.fleet.agenda import Cores, Log, Turns
from bridge.adapters.store.postgresql import MOST_LOCKS
from bridge.domain.ledger.limits import NO_SLOT, Slot, reserve
from bridge.domain.ledger.unit_of_work import UnitOfWork

if TYPE_CHECKING:
    from benchmarks.fleet.agenda import Then
    from benchmarks.fleet.model import Fleet, Shard


@dataclass(slots=True)
class Command:
    """A command under way."""

    came: float
    slot: Slot = field(default=NO_SLOT)


class Ledger:
    """A database that several workers commit to."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.unit = UnitOfWork()
        self.cores = fleet.shared or Cores(fleet.agenda, fleet.plan.ledger_cores)
        self.lock = Turns(fleet.agenda)
        self._log = Log(fleet.agenda, fleet.costs.sync)
        self.commits = self.changes = 0

    def commit(self, worker: Worker, claims: int, outcomes: int, then: Then) -> None:
        """Commit a batch, then go on."""
        transact = partial(self._transact, worker, claims + outcomes)
        # What an outcome locks is its command, and the pair of number and text.
        if self._fleet.plan.sqlite or self._fleet.plan.limited or claims + 2 * outcomes > MOST_LOCKS:
            self.lock.take(lambda done: transact(partial(both, done, then)))
        else:
            transact(then)

    def _transact(self, worker: Worker, changes: int, then: Then) -> None:
        costs = self._fleet.costs
        served = costs.server_commit + changes * costs.server_change

        def committed() -> None:
            self.commits += 1
            self.changes += changes
            then()

        def answered() -> None:
            self._fleet.agenda.after(costs.network, partial(self._log.sync, committed))

        def asked() -> None:
            if served:
                self.cores.run(served, answered)
            else:
                answered()

        worker.work(costs.commit + changes * costs.change, asked)


class Worker:
    """One process of `bridge worker`."""

    def __init__(self, fleet: Fleet, shard: Shard) -> None:
        self._fleet, self._shard = fleet, shard
        self.thread = Turns(fleet.agenda)
        self.prefetch = 2 * fleet.plan.in_flight
        self.asks = 0 if not fleet.plan.offered else self.prefetch
        self._room = fleet.plan.in_flight
        self._waiting: deque[Command] = deque()
        self._answered: list[Command] = []
        self._deciding = False
        shard.workers.append(self)

    def work(self, seconds: float, then: Then) -> None:
        """Have one of its threads work, then go on."""

        def begin(done: Then) -> None:
            ended = partial(both, done, then)
            if self._fleet.shared is None:
                self._fleet.agenda.after(seconds, ended)
            else:
                self._fleet.shared.run(seconds, ended)

        self.thread.take(begin)

    def receive(self, command: Command) -> None:
        """Take a delivery, or one whose slot has come."""
        self._waiting.append(command)
        self._turn()

    def _turn(self) -> None:
        """Commit what has come meanwhile, as the desk does."""
        if self._deciding:
            return
        claims = [self._waiting.popleft() for _ in range(min(self._room, len(self._waiting)))]
        answered, self._answered = self._answered, []
        if not claims and not answered:
            return
        self._room -= len(claims)
        self._deciding = True
        seconds = self._fleet.costs.desk / 2 * (len(claims) + len(answered))
        committed = partial(self._committed, claims, answered)
        self.work(seconds, partial(self._shard.ledger.commit, self, len(claims), len(answered), committed))

    def _committed(self, claims: list[Command], answered: list[Command]) -> None:
        for command in claims:
            self._claimed(command)
        for _ in answered:
            self._fleet.broker.run(self._fleet.costs.broker, self._told)
        self._deciding = False
        self._turn()

    def _claimed(self, command: Command) -> None:
        plan, agenda = self._fleet.plan, self._fleet.agenda
        if plan.limited:
            slot = reserve(self._shard.ledger.unit, "sender", plan.limits, now=agenda.now, held=command.slot)
            command.slot = slot
            if slot.at > agenda.now:
                self._room += 1
                agenda.after(slot.at - agenda.now, partial(self.receive, command))
                return
        self.work(self._fleet.costs.call, partial(self._call, command))

    def _call(self, command: Command) -> None:
        self._fleet.waits.append(self._fleet.agenda.now - command.came)
        answer = partial(self._fleet.agenda.after, self._fleet.latency(), partial(self._answer, command))
        if self._fleet.shared is None:
            answer()
        else:
            self._fleet.shared.run(self._fleet.costs.provider, answer)

    def _answer(self, command: Command) -> None:
        self._room += 1
        self._answered.append(command)
        self._turn()

    def _told(self) -> None:
        self._fleet.told += 1
        self._shard.ready_for(self)


def both(first: Then, second: Then) -> None:
    """Go on with both."""
    first()
    second()
