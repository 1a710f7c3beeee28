r"""The worker: a command's way from its delivery to its settlement.

    receive -> claim -> call -> file -> tell -> settle
                    \-> look -^

The steps run on the desk's thread; what blocks is done by others: the callers call, the publisher publishes, the source
settles.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, assert_never, cast

import structlog

from bridge.core.ledger import (
    Call,
    Claim,
    Conflict,
    Filed,
    Later,
    Look,
    Superseded,
    Tell,
)
from bridge.core.ledger.claiming import SHORT_WAIT
from bridge.runtime import failpoints
from bridge.runtime.callers import Callers
from bridge.runtime.claimed import Claimed, Course
from bridge.runtime.desk import Desk
from bridge.runtime.entrance import Entrance
from bridge.runtime.gauges import WorkerState
from bridge.runtime.jobs import Job, oldest_of, published_at
from bridge.runtime.receiving import Receiving
from bridge.runtime.settling import Settling
from bridge.runtime.telling import Telling

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from bridge.core.ledger import Verdict
    from bridge.flows.send import SendRules
    from bridge.ports import Delivery, Gateway, Ledger, Publisher
    from bridge.runtime.entrance import Intake
    from bridge.runtime.metrics import Metrics
    from bridge.runtime.steady import SteadyClock
    from bridge.runtime.tracing import CommandTracing

#: Seconds between two looks at the entrance while commands wait for it.
LOOK = 0.1
#: Seconds until a command goes back that can't be taken.
REFUSED_PAUSE = 1.0
#: The share of a lease within which calls may run; the rest is for filing their answers. More than settings let one
#: call take (`bridge.settings.checks.LEASE_SHARE`): with no room to spare, none would ever start.
CALL_SHARE = 0.9
#: Of so many calls that may run, one more is claimed, and waits for the first of them to end: a caller then goes on
#: with it, where it would wait for a commit. More would be more that a crash leaves in doubt.
CLAIMED_AHEAD = 16
ORPHANED = "the broker has commands back that are not told yet"


class Worker:
    """Sends what the queue holds."""

    def __init__(
        self,
        *,
        publisher: Publisher,
        ledger: Ledger,
        gateway: Gateway,
        clock: SteadyClock,
        rules: SendRules,
        concurrency: int,
        spare: int,
        owner: str,
        stopping: threading.Event,
        metrics: Metrics,
        on_crash: Callable[[], None],
        on_unusable: Callable[[], None],
        tracing: CommandTracing | None = None,
    ) -> None:
        """`spare` is how many commands may wait for their rate limit in the worker rather than in the delay.

        `owner` names this process in the ledger's claims; `stopping` cuts the gateway's waits short. The process has to
        end with `on_crash` or `on_unusable`, which is the ledger.
        """
        self._publisher = publisher
        self._spare = spare
        self._clock = clock
        self._rules = rules
        self._owner = owner
        #: Each claim has a name of its own: what ran past its lease must not pass for its successor.
        self._claims = itertools.count(1)
        self._stopping = stopping
        self._metrics = metrics
        self._desk = Desk(
            ledger,
            clock=clock,
            rules=rules.ledger,
            metrics=metrics,
            stopping=stopping,
            on_crash=on_crash,
            on_unusable=on_unusable,
        )
        self._callers = Callers(gateway, concurrency)
        self._entrance = Entrance(
            self._callers, publisher, clock, limit=concurrency + concurrency // CLAIMED_AHEAD
        )
        self._course = Course(
            self._desk,
            self._callers,
            self._entrance,
            rules=rules,
            clock=clock,
            metrics=metrics,
            filed=self._on_filed,
        )
        self._settling = Settling(
            self._desk, clock, delay=lambda job, generation: self._telling.delay(job, generation)
        )
        self._telling = Telling(
            publisher,
            rules=rules,
            clock=clock,
            metrics=metrics,
            post=self._desk.post,
            told=self._settling.told,
            tracing=tracing,
        )
        self._receiving = Receiving(
            self._desk,
            self._settling,
            self._telling,
            rules=rules.commands,
            clock=clock,
            metrics=metrics,
            stopping=stopping,
            take=lambda job: self._waiting.extend((job, index) for index in range(job.open)),
            refuse=self._refuse,
            tracing=tracing,
        )
        self._concurrency = concurrency
        self._waiting: deque[tuple[Job, int]] = deque()
        #: What waits for a moment, by when it may go: for its rate limit, or without an index to be given back.
        self._limited: list[tuple[float, int, Job, int | None]] = []
        self._source: Intake | None = None
        self._log = structlog.get_logger()

    def start(self, source: Intake) -> None:
        """Begin to work on what `source` delivers to `receive`."""
        self._source = source
        self._settling.start(source)
        self._callers.start()
        self._desk.open(self)

    def stop(self, grace: float) -> bool:
        """Finish what is in flight within `grace` seconds, give the rest back; returns whether all was finished."""
        self._stopping.set()
        self._desk.post(self._give_rest_back)
        finished = self._desk.wait_closed(grace)
        self._callers.stop()
        return finished

    def receive(self, delivery: Delivery) -> None:
        """Take a delivery. From the source's thread; returns at once."""
        self._receiving.receive(delivery)

    def lose(self) -> None:
        """Forget what was delivered so far and has no claim: the broker has it back. From the source's thread."""
        self._receiving.lose()
        self._desk.post(self._on_lost)

    @property
    def trouble(self) -> str | None:
        """Why nothing is sent at the moment, where that is so."""
        return self._entrance.trouble or self._desk.trouble

    @property
    def rounds(self) -> int:
        """How often the desk went round; see `bridge.runtime.progress`."""
        return self._desk.rounds

    @property
    def thread_id(self) -> int | None:
        """The native id of the thread that works most, once it runs."""
        return self._desk.thread_id

    @property
    def shut(self) -> bool:
        """Whether the gate lets no call through: nobody else should make one either."""
        return self._entrance.shut

    def state(self) -> WorkerState:
        """Return how it stands. From any thread: each of the copies here is one step of the interpreter."""
        jobs, delivered, limited = self._settling.jobs, self._receiving.delivered, tuple(self._limited)
        return WorkerState(
            commands=len(jobs) + len(delivered),
            oldest_at=oldest_of([*(job.received.delivery for job in jobs), *delivered], self._clock.now()),
            limited=sum(index is not None for _, _, _, index in limited),
            under_way=self._entrance.under_way,
            gate=self._entrance.gate,
            broker=self._publisher.available,
            ledger=self._desk.trouble is None,
            orphaned=self._settling.orphaned > self._concurrency,
        )

    @property
    def _steered(self) -> Intake:
        assert self._source is not None  # noqa: S101 - set by `start`
        return self._source

    # --- the desk's work -----------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Do what can be done now, then have go out what came of all."""
        if not self._stopping.is_set():
            self._let_in()
        self._publisher.flush()
        self._steered.flush()

    def _let_in(self) -> None:
        """Claim as many submissions as may be called for now: what is claimed and never called looks like a crash."""
        while self._limited and self._limited[0][0] <= self._clock.now():
            _, _, job, index = heapq.heappop(self._limited)
            if index is None:
                self._settling.end(job)
            else:
                self._waiting.appendleft((job, index))
        while self._waiting and self._entrance.has_room():
            job, index = self._waiting.popleft()
            self._entrance.enter()
            self._claim(job, index)
        orphaned = ORPHANED if self._settling.orphaned > self._concurrency else None
        self._entrance.steer(self._steered, orphaned)
        self._entrance.probe(self._desk.post)

    def stalled(self) -> None:
        """Take no more commands: without the ledger none can be claimed. The next turn has them come again."""
        self._entrance.steer(self._steered, self._desk.trouble)

    def patience(self) -> float:
        """Return the seconds until there may be something to do even if nothing happens."""
        if (
            self._stopping.is_set()
            or self._entrance.paused
            or (self._waiting and not self._entrance.has_room())
        ):
            return LOOK
        if self._limited:
            return min(1.0, max(0.0, self._limited[0][0] - self._clock.now()))
        return 1.0

    def clock_set(self, step: float) -> None:
        """Wait as long as before; see `bridge.runtime.desk.Work`."""
        self._settling.clock_set(step)
        # The same step for all keeps the order of the heap.
        self._limited = [(at + step, number, job, index) for at, number, job, index in self._limited]

    def done(self) -> bool:
        """Whether a stop has nothing left to finish."""
        return self._stopping.is_set() and not self._settling.jobs

    def _on_lost(self) -> None:
        """Go on with claims alone: for all else the command speaks that the broker delivers again."""
        self._settling.lose()
        self._give_rest_back()

    def _give_rest_back(self) -> None:
        """Give back what has no claim; a command that is partly sent is given back once its claims are settled."""
        held = [job for job, _ in self._waiting] + [job for _, _, job, _ in self._limited]
        self._limited.clear()
        for job in held:
            job.given_back = True
            job.open -= 1
        untouched = {job for job in held if job.open == 0}
        self._waiting.clear()
        for job in untouched:
            self._settling.close(job)

    # --- claim ---------------------------------------------------------------------------------------------------

    def _claim(self, job: Job, index: int) -> None:
        failpoints.reach("claiming")
        received = job.received
        owner, now = f"{self._owner} {next(self._claims)}", self._clock.now()
        claim = Claim(
            command=job.command,
            index=index,
            owner=owner,
            now=now,
            style=self._rules.style,
            rules=self._rules.ledger,
            generation=job.generation,
            carried=received.generation,
            delayed=received.delayed,
            redelivered=received.delivery.redelivered,
            published_at=published_at(received.delivery, now),
            replay=received.replay,
            traceparent=received.traceparent,
        )
        until = self._clock.monotonic() + self._rules.ledger.lease * CALL_SHARE
        self._desk.change(claim, partial(self._on_claimed, Claimed(job, index, owner, until)))

    def _on_claimed(self, claimed: Claimed, result: object) -> None:
        verdict = cast("Verdict | None", result)
        job, index = claimed.job, claimed.index
        if isinstance(verdict, Call):
            job.generation = verdict.generation
            self._course.call(claimed, verdict)
            return
        if isinstance(verdict, Look):
            job.generation = verdict.generation
            self._course.look(claimed, verdict)
            return
        self._entrance.leave()
        if verdict is None:
            self._refuse(job)
            return
        if isinstance(verdict, Later) and self._is_moment(verdict):
            heapq.heappush(self._limited, (verdict.at, next(self._claims), job, index))
            return
        self._take_verdict(job, index, verdict)
        self._settling.end(job)

    def _refuse(self, job: Job) -> None:
        """Give back a command that can't be taken, after a moment: it comes again at once."""
        job.given_back = True
        if self._stopping.is_set():
            self._settling.end(job)
            return
        heapq.heappush(self._limited, (self._clock.now() + REFUSED_PAUSE, next(self._claims), job, None))

    def _is_moment(self, later: Later) -> bool:
        """Whether a rate limit has it wait so shortly that the delay would take longer."""
        is_short = later.limited and later.at - self._clock.now() <= SHORT_WAIT
        # What waits here is in the place of what could be called for: one busy sender must not take all there is.
        return is_short and len(self._limited) < self._spare

    def _take_verdict(self, job: Job, index: int, verdict: Tell | Later | Conflict | Superseded) -> None:
        match verdict:
            case Tell():
                # A duplicate of a command that ended long ago leaves no second dead letter; others may owe one.
                dead = (
                    verdict.fresh or verdict.own or job.received.delivery.redelivered or job.received.delayed
                )
                self._telling.outcome(
                    job, index, verdict.outcome, verdict.told, dead=dead, fresh=verdict.fresh
                )
            case Later():
                if verdict.generation is not None:
                    job.generation = verdict.generation
                job.wait(index, verdict.at, itself=verdict.own)
            case Conflict():
                if not job.conflicting:
                    job.conflicting = True
                    self._telling.invalid(job)
            case Superseded():
                self._log.debug("command.superseded", command_id=job.shown_id, index=index)
            case _:
                assert_never(verdict)

    # --- file ----------------------------------------------------------------------------------------------------

    def _on_filed(self, claimed: Claimed, result: object) -> None:
        failpoints.reach("filed")
        filed = cast("Filed | None", result)
        job, index = claimed.job, claimed.index
        if filed is None:
            # Another worker took it over while we were slow; what the provider told us is kept as evidence.
            self._log.error("claim.lost", command_id=job.shown_id, index=index)
            self._metrics.claims_lost.inc()
            job.given_back = True
            self._settling.end(job)
            return
        if filed.finding is not None:
            self._metrics.looks[filed.finding].inc()
        if filed.outcome is not None and filed.told is not None:
            self._telling.outcome(job, index, filed.outcome, filed.told, dead=True, fresh=True)
        else:
            retry_at = filed.retry_at or 0.0
            if filed.deferred is not None:
                self._telling.deferred(job, filed.deferred)
            elif retry_at <= self._clock.now():
                # Nothing to wait for but the gate.
                self._go_on(job, index)
                return
            job.wait(index, retry_at, itself=True)
        self._settling.end(job)

    def _go_on(self, job: Job, index: int) -> None:
        """Have it wait for the gate again, behind the others: what the provider keeps refusing holds up nobody."""
        if self._stopping.is_set():
            job.given_back = True
            self._settling.end(job)
        else:
            self._waiting.append((job, index))
