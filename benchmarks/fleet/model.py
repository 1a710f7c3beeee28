"""Workers, ledgers, queues and a provider as they work together. Times are in seconds.

    a queue delivers where the prefetch has room
    -> the desk takes what has come meanwhile, commands and answers, and commits it in one batch: claims and outcomes
    -> each claim is called for; each outcome is told, and the command acknowledged once the broker has confirmed that

A worker has one processor, for one of its threads at a time. A ledger's server has some, a log that it syncs for all
who wait for it at once, and locks: batches that take slots of a rate limit, or have more names than are locked one by
one, go one after the other. SQLite is a lock and the worker's own processor. The broker has processors, and each queue
is one process of it. Nothing fails, and nothing is delayed but by its rate limit.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.fleet.agenda import Agenda, Cores, Log, Turns
from bridge.adapters.store.postgresql import MOST_LOCKS
from bridge.core.ledger.limits import NO_SLOT, Slot, reserve
from bridge.core.ledger.slate import Slate
from bridge.core.rules import LimitRules

if TYPE_CHECKING:
    from benchmarks.fleet.agenda import Then

#: The share of the commands until which nothing is counted: at first all workers do the same at once.
WARM_UP = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Of processor time, where nothing else is said."""

    #: A worker's, for each command: its call, and all else but the ledger.
    call: float
    desk: float
    #: A worker's within a transaction, for each change and each commit.
    change: float
    commit: float
    #: The ledger's server's, for each change and each commit; a SQLite ledger has none.
    server_change: float = 0.0
    server_commit: float = 0.0
    #: Seconds until the log is on the disk, and that a transaction's statements are on the network.
    sync: float
    network: float = 0.0
    #: The broker's for each command and its event, and how long a queue has each in hand.
    broker: float
    queue: float
    #: The provider's, which costs us something where it is a stand-in.
    provider: float = 0.0

    def slower(self, times: float) -> Costs:
        """Return the costs on processors that are so many times as slow."""
        waits = {"sync", "network", "queue"}
        return Costs(**{name: cost if name in waits else cost * times for name, cost in asdict(self).items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is simulated."""

    workers: int
    shards: int = 1
    in_flight: int = 16
    sqlite: bool = False
    limits: LimitRules = field(default_factory=LimitRules)
    #: A provider's latency: the median, and the standard deviation of its logarithm.
    latency: float = 0.15
    spread: float = 0.5
    #: Processors of each ledger's server, and of the broker.
    ledger_cores: int = 8
    broker_cores: int = 8
    #: Processors that all share, the above not counted; 0 where every worker has its own.
    shared_cores: int = 0
    #: Commands that come in a second; 0 where the queues are never empty.
    offered: float = 0.0
    commands: int = 20_000
    seed: int = 1


@dataclass(slots=True, kw_only=True)
class Result:
    """What came of it: shares are of the time, of the busiest of each kind."""

    per_second: float
    commits_per_second: float
    changes_per_commit: float
    worker: float
    ledger: float
    lock: float
    broker: float
    queue: float
    #: From each command's arrival on the queue to its call.
    waits: list[float]


@dataclass(slots=True)
class Command:
    """A command under way."""

    came: float
    slot: Slot = field(default=NO_SLOT)


class Fleet:
    """All of it."""

    def __init__(self, plan: Plan, costs: Costs) -> None:
        self.plan, self.costs = plan, costs
        self.agenda = Agenda()
        self.chance = random.Random(plan.seed)
        shared = Cores(self.agenda, plan.shared_cores) if plan.shared_cores else None
        self.shared = shared
        self.broker = shared or Cores(self.agenda, plan.broker_cores)
        self.shards = [Shard(self) for _ in range(plan.shards)]
        self.workers = [Worker(self, self.shards[number % plan.shards]) for number in range(plan.workers)]
        self.told = 0
        self.waits: list[float] = []

    def run(self) -> Result:
        """Let it work until all commands are told."""
        for shard in self.shards:
            shard.begin()
        self.agenda.run(lambda: self.told >= self.plan.commands * WARM_UP)
        began, already = self.agenda.now, self.told
        self.waits.clear()
        self.agenda.run(lambda: self.told >= self.plan.commands)
        ledgers = [shard.ledger for shard in self.shards]
        commits = sum(ledger.commits for ledger in ledgers)
        return Result(
            per_second=(self.told - already) / (self.agenda.now - began),
            commits_per_second=commits / self.agenda.now,
            changes_per_commit=sum(ledger.changes for ledger in ledgers) / commits,
            worker=max(worker.thread.share for worker in self.workers),
            ledger=max(ledger.cores.share for ledger in ledgers),
            lock=max(ledger.lock.share for ledger in ledgers),
            broker=self.broker.share,
            queue=max(shard.queue.share for shard in self.shards),
            waits=self.waits,
        )

    def latency(self) -> float:
        """Draw how long the provider takes for a call."""
        if not self.plan.latency:
            return 0.0
        return self.plan.latency * self.chance.lognormvariate(0.0, self.plan.spread)


class Shard:
    """A queue with a ledger."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.ledger = Ledger(fleet)
        self.queue = Turns(fleet.agenda)
        self.workers: list[Worker] = []
        self._ready: deque[Command] = deque()
        self._next = 0

    def begin(self) -> None:
        """Deliver as much as is asked for, or let commands come."""
        if self._fleet.plan.offered:
            self._come()
            return
        for worker in self.workers:
            for _ in range(worker.prefetch):
                self.ready_for(worker)

    def ready_for(self, worker: Worker) -> None:
        """Deliver one more, or the next that comes."""
        worker.asks += 1
        if not self._fleet.plan.offered:
            self._deliver(Command(self._fleet.agenda.now), worker)
        elif self._ready:
            self._deliver(self._ready.popleft(), worker)

    def _come(self) -> None:
        """Let a command come, and the next one after a while."""
        self._ready.append(Command(self._fleet.agenda.now))
        for _ in self.workers:
            self._next = (self._next + 1) % len(self.workers)
            if self.workers[self._next].asks:
                self._deliver(self._ready.popleft(), self.workers[self._next])
                break
        rate = self._fleet.plan.offered / self._fleet.plan.shards
        self._fleet.agenda.after(self._fleet.chance.expovariate(rate), self._come)

    def _deliver(self, command: Command, worker: Worker) -> None:
        worker.asks -= 1

        def deliver(done: Then) -> None:
            self._fleet.agenda.after(
                self._fleet.costs.queue, partial(_both, done, partial(worker.receive, command))
            )

        self.queue.take(deliver)


class Ledger:
    """A database that several workers commit to."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.slate = Slate()
        self.cores = fleet.shared or Cores(fleet.agenda, fleet.plan.ledger_cores)
        self.lock = Turns(fleet.agenda)
        self._log = Log(fleet.agenda, fleet.costs.sync)
        self.commits = self.changes = 0

    def commit(self, worker: Worker, claims: int, outcomes: int, then: Then) -> None:
        """Commit a batch, then go on."""
        transact = partial(self._transact, worker, claims + outcomes)
        # What an outcome locks is its command, and the pair of number and text.
        if self._fleet.plan.sqlite or any_limit(self._fleet.plan) or claims + 2 * outcomes > MOST_LOCKS:
            self.lock.take(lambda done: transact(partial(_both, done, then)))
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
            ended = partial(_both, done, then)
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
        if any_limit(plan):
            slot = reserve(self._shard.ledger.slate, "sender", plan.limits, now=agenda.now, held=command.slot)
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


def any_limit(plan: Plan) -> bool:
    """Whether claims take slots of rate limits."""
    return bool(plan.limits.account_per_second or plan.limits.sender_per_second)


def _both(first: Then, second: Then) -> None:
    first()
    second()
