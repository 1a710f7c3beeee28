"""The model of workers, ledgers, queues and a provider. Times are in seconds.

    a queue delivers while the prefetch has capacity
    -> the worker's loop takes commands and responses, and commits them in one batch: claims and records
    -> each claim leads to a call; each outcome is published, and the command acknowledged after the confirm

A worker has one processor, for one of its threads at a time. A ledger's server has several, a log that one sync writes
for all waiting commits, and locks: batches that update a rate limit, or have more names than are locked one by one, run
one after another. SQLite is a lock and the worker's own processor. The broker has processors, and each queue is one
process of it. Nothing fails, and only a rate limit delays a command.
"""

from __future__ import annotations

import random
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.fleet.agenda import Agenda, Cores, Turns
from benchmarks.fleet.plan import Costs, Plan, Result
from benchmarks.fleet.worker import Command, Ledger, Worker, both

if TYPE_CHECKING:
    from benchmarks.fleet.agenda import Then

#: The share of the commands that is not counted: at first all workers are in step.
WARM_UP = 0.25
#: Seconds for which another program uses a shared processor at a time.
SLICE = 0.004


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
        self.stored_event = 0
        self.waits: list[float] = []

    def run(self) -> Result:
        """Run until all outcomes are published."""
        for shard in self.shards:
            shard.begin()
        self._let_others_work()
        self.agenda.run(lambda: self.stored_event >= self.plan.commands * WARM_UP)
        began, already = self.agenda.now, self.stored_event
        self.waits.clear()
        self.agenda.run(lambda: self.stored_event >= self.plan.commands)
        ledgers = [shard.ledger for shard in self.shards]
        commits = sum(ledger.commits for ledger in ledgers)
        return Result(
            per_second=(self.stored_event - already) / (self.agenda.now - began),
            commits_per_second=commits / self.agenda.now,
            changes_per_commit=sum(ledger.changes for ledger in ledgers) / commits,
            worker=max(worker.thread.share for worker in self.workers),
            ledger=max(ledger.cores.share for ledger in ledgers),
            lock=max(ledger.lock.share for ledger in ledgers),
            broker=self.broker.share,
            queue=max(shard.queue.share for shard in self.shards),
            waits=self.waits,
        )

    def _let_others_work(self) -> None:
        """Load the shared processors as other programs do."""
        if self.shared is None or not self.plan.others:
            return
        self.shared.run(SLICE, lambda: None)
        self.agenda.after(self.chance.expovariate(self.plan.others / SLICE), self._let_others_work)

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
                self._fleet.costs.queue, partial(both, done, partial(worker.receive, command))
            )

        self.queue.take(deliver)
