"""What was delivered and is not settled yet: each delivery once, when all that it led to is durable.

all of its submissions ended ──▶ closed ──▶ told ──▶ settled: off the queue, or back on it
└─ what waits ──▶ handed over ──▶ delay
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bridge.core.ledger import Carry, HandOver
from bridge.runtime import failpoints

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.ports import CommandSource
    from bridge.runtime.desk import Desk
    from bridge.runtime.jobs import Job
    from bridge.runtime.steady import SteadyClock


class Settling:
    """Owns the deliveries in hand. On the desk's thread, but for `jobs` and `orphaned`."""

    def __init__(self, desk: Desk, clock: SteadyClock, *, delay: Callable[[Job, int], None]) -> None:
        """`delay` publishes a job's command, of a generation, to come again when something of it is due."""
        self._desk = desk
        self._clock = clock
        self._delay = delay
        self._jobs: set[Job] = set()
        #: Those of lost connections.
        self._orphaned: set[Job] = set()
        self._source: CommandSource | None = None

    def start(self, source: CommandSource) -> None:
        """Settle with `source` from now on."""
        self._source = source

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Those in hand. From any thread: the copy is one step of the interpreter."""
        return tuple(self._jobs)

    @property
    def orphaned(self) -> int:
        """How many of them belong to lost connections."""
        return len(self._orphaned)

    @property
    def source(self) -> CommandSource:
        """Where all of them came from."""
        assert self._source is not None  # noqa: S101 - set by `start`
        return self._source

    def take(self, job: Job) -> None:
        """Take a job in hand, until it is settled."""
        self._jobs.add(job)

    def lose(self) -> None:
        """Take note that the broker has them all back."""
        for job in self._jobs:
            job.given_back = True
        self._orphaned |= self._jobs

    def clock_set(self, step: float) -> None:
        """Wait as long as before; see `bridge.runtime.desk.Work`."""
        for job in self._jobs:
            job.waits = {index: at + step for index, at in job.waits.items()}

    def end(self, job: Job) -> None:
        """Take note that one of the job's submissions has come as far as it does this time."""
        job.open -= 1
        if job.open == 0:
            self.close(job)

    def close(self, job: Job) -> None:
        """Take note that all of the job's submissions have: what waits goes to the delay, the rest is done."""
        # What was called for is not left to a redelivery alone: a queue that is deleted has none.
        if job.waits and job.waits_itself and (not job.given_back or job in self._orphaned):
            now = self._clock.now()
            hand_over = HandOver(command_id=job.command_id, generation=job.generation, now=now)
            self._desk.change(hand_over, partial(self._on_handed_over, job))
            for index in job.waits:
                self._desk.change(Carry(command_id=job.command_id, index=index))
            return
        if job.waits and not job.given_back:
            self._delay(job, job.received.generation)
        self.finish(job)

    def finish(self, job: Job) -> None:
        """Take note that nothing more will come of the job than what is to be told of it."""
        job.closed = True
        self._settle(job)

    def told(self, job: Job) -> None:
        """Take note that the broker has confirmed one of the job's messages."""
        job.untold -= 1
        self._settle(job)

    def _on_handed_over(self, job: Job, generation: object) -> None:
        failpoints.reach("handed-over")
        # Where another delivery speaks for the command by now, this one waits like any second one.
        self._delay(job, generation if isinstance(generation, int) else job.received.generation)
        self.finish(job)

    def _settle(self, job: Job) -> None:
        """Settle the delivery once, when all it led to is durable."""
        if not job.closed or job.untold or job not in self._jobs:
            return
        failpoints.reach("told")
        self._jobs.discard(job)
        self._orphaned.discard(job)
        if job.span is not None:
            job.span.end({"sms_bridge.given_back": job.given_back})
        if job.given_back:
            self.source.give_back(job.received.delivery)
        else:
            self.source.ack(job.received.delivery)
