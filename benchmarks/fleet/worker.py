"""A worker and the ledger that it commits to, as `benchmarks.fleet.model` says. Times are in seconds.

Each command follows the shipped order (`bridge.worker.delivery`); here its actions only cost time.
"""

from __future__ import annotations

from collections import deque
from copy import copy
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.fleet.agenda import Cores, Log, Turns
from bridge.adapters.store.postgresql import MOST_LOCKS
from bridge.app.command_client import send_rules
from bridge.domain.answers import Accepted
from bridge.domain.ledger import Call, NotBefore, RecordedResult, StoredEvent
from bridge.domain.ledger.limits import ACCOUNT, NO_RESERVATION, reserve
from bridge.domain.ledger.unit_of_work import UnitOfWork
from bridge.domain.messages import Delivery
from bridge.domain.outcomes import Outcome
from bridge.domain.submissions import Attempted
from bridge.settings import Settings
from bridge.worker.actions import (
    Acknowledge,
    Answered,
    AwaitConfirms,
    BeginVersion,
    Claimed,
    ClaimSubmission,
    Fork,
    Joined,
    PublishCopy,
    PublishOutcome,
    Recorded,
    RecordResult,
    SendSubmission,
    WaitHere,
)
from bridge.worker.delivery import CommandDelivery

if TYPE_CHECKING:
    from benchmarks.fleet.agenda import Then
    from benchmarks.fleet.model import Fleet, Shard
    from bridge.domain.ledger import Verdict
    from bridge.worker.actions import Action


#: The command that all deliveries hold.
BODY = b'{"id": "order-17", "destination_address": "+16131234567", "message": "hello"}'
RULES = send_rules(Settings())
ACCEPTED = Attempted(
    answer=Accepted(message_id="m", sender_address=None, delivery_status=None, http_status=201), attempts=1
)
#: All commands are alike: one is parsed.
PARSED = CommandDelivery(Delivery(BODY, tag=(0, 0)), RULES, now=0.0, new_id=str)
WAITED = True
SENT = RecordedResult(outcome=Outcome.SENT, stored_event=StoredEvent(event_id="e", body=b"{}"))


class Command:
    """A command under way."""

    __slots__ = ("came", "comes_back_at", "main", "reservation", "steps")

    def __init__(self, came: float) -> None:
        self.came = came
        self.reservation = NO_RESERVATION
        self.deliver()

    def deliver(self) -> None:
        """Deliver it, for the first time or as a delayed copy."""
        #: When its copy comes back; None where it leaves none.
        self.comes_back_at: float | None = None
        flow = copy(PARSED)
        flow.waits = {}
        self.main = self.steps = flow.steps()

    def go_on(self, result: object) -> Action | None:
        """Send it the result of its action; returns the next one that takes time, None once it is acknowledged."""
        while True:
            try:
                action = self.steps.send(result)
            except StopIteration:
                if self.steps is self.main:
                    return None
                self.steps, result = self.main, Joined(lost=False, now=0.0)
                continue
            result = None
            match action:
                case Fork(branches):
                    [self.steps] = branches
                case BeginVersion():
                    result = 1
                case PublishCopy(_, at):
                    self.comes_back_at = at
                case PublishOutcome() | Acknowledge():
                    pass
                case _:
                    return action


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
        # An outcome locks its command, and the pair of number and text.
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
        self._capacity = fleet.plan.in_flight
        self._waiting: deque[Command] = deque()
        self._answered: list[Command] = []
        self._deciding = False
        shard.workers.append(self)

    def work(self, seconds: float, then: Then) -> None:
        """Occupy one of its threads, then continue."""

        def begin(done: Then) -> None:
            ended = partial(both, done, then)
            if self._fleet.shared is None:
                self._fleet.agenda.after(seconds, ended)
            else:
                self._fleet.shared.run(seconds, ended)

        self.thread.take(begin)

    def receive(self, command: Command) -> None:
        """Take a delivery."""
        self._go_on(command, None)
        self._iterate()

    def _go_on(self, command: Command, result: object) -> None:
        """Carry out the next action of a command."""
        match action := command.go_on(result):
            case ClaimSubmission():
                self._waiting.append(command)
            case SendSubmission():
                self.work(self._fleet.costs.call, partial(self._call, command))
            case RecordResult():
                self._answered.append(command)
            case AwaitConfirms():
                self._fleet.broker.run(self._fleet.costs.broker, partial(self._confirmed, command))
            case WaitHere(until):
                self._fleet.agenda.after(until - self._fleet.agenda.now, partial(self._waited, command))
            case _:
                assert action is None, action

    def _iterate(self) -> None:
        """Commit the results since the last commit, as the worker's loop does."""
        if self._deciding:
            return
        claims = [self._waiting.popleft() for _ in range(min(self._capacity, len(self._waiting)))]
        answered, self._answered = self._answered, []
        if not claims and not answered:
            return
        self._capacity -= len(claims)
        self._deciding = True
        seconds = self._fleet.costs.loop / 2 * (len(claims) + len(answered))
        committed = partial(self._committed, claims, answered)
        self.work(seconds, partial(self._shard.ledger.commit, self, len(claims), len(answered), committed))

    def _committed(self, claims: list[Command], answered: list[Command]) -> None:
        now = self._fleet.agenda.now
        for command in claims:
            self._go_on(command, Claimed(self._verdict(command), "owner", now))
        for command in answered:
            self._go_on(command, Recorded(SENT, now))
        self._deciding = False
        self._iterate()

    def _verdict(self, command: Command) -> Verdict:
        plan, now = self._fleet.plan, self._fleet.agenda.now
        if plan.limited:
            ledger = self._shard.ledger
            limits = {"sender": plan.limits.sender_per_second, ACCOUNT: plan.limits.account_per_second}
            command.reservation = reserve(ledger.unit, limits, now=now, held=command.reservation)
            if command.reservation.at > now:
                self._capacity += 1
                return NotBefore(at=command.reservation.at, own=True, limited=True)
        return Call(attempts=0, first_attempt_at=now, version=0)

    def _waited(self, command: Command) -> None:
        self._go_on(command, WAITED)
        self._iterate()

    def _call(self, command: Command) -> None:
        self._fleet.waits.append(self._fleet.agenda.now - command.came)
        answer = partial(self._fleet.agenda.after, self._fleet.latency(), partial(self._answer, command))
        if self._fleet.shared is None:
            answer()
        else:
            self._fleet.shared.run(self._fleet.costs.provider, answer)

    def _answer(self, command: Command) -> None:
        self._capacity += 1
        self._go_on(command, Answered(ACCEPTED, self._fleet.agenda.now, 0.5))
        self._iterate()

    def _confirmed(self, command: Command) -> None:
        self._go_on(command, None)
        if command.comes_back_at is not None:
            seconds = command.comes_back_at - self._fleet.agenda.now
            command.deliver()
            self._fleet.agenda.after(seconds, partial(self.receive, command))
            return
        self._fleet.stored_event += 1
        self._shard.ready_for(self)


def both(first: Then, second: Then) -> None:
    """Go on with both."""
    first()
    second()
