"""The worker: a command's way from its delivery to its settlement.

    receive -> claim -> call -> file -> tell -> settle

One thread, the desk, owns all that is known of the commands under way, and the ledger. Deliveries, answers and
confirms come to it from the threads that have them; what it wants done goes to the threads that do it. So nothing here
needs a lock, and while one commit is on its way to the disk, what comes in meanwhile makes up the next.
"""

from __future__ import annotations

import random
import threading
import uuid
from collections import deque
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Protocol, assert_never, cast

import structlog

from bridge.core.answers import Accepted, Blocked, Refused, Unsent
from bridge.core.commands import Malformed
from bridge.core.decide import Judgement, judge
from bridge.core.gate import Gate
from bridge.core.ledger import (
    Call,
    Carry,
    Claim,
    Conflict,
    File,
    Filing,
    HandOver,
    Later,
    Superseded,
    Tell,
    Told,
)
from bridge.core.masking import mask_number
from bridge.core.outcomes import Result
from bridge.flows.commands import read
from bridge.flows.send import tell_event, tell_invalid, tell_outcome, to_the_delay
from bridge.ports import CommandSource, LedgerUnavailable, Submission
from bridge.runtime.callers import Callers
from bridge.runtime.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.core.answers import Answer
    from bridge.core.ledger import Change, Verdict
    from bridge.core.outcomes import Outcome
    from bridge.flows.send import SendRules
    from bridge.ports import Attempted, Clock, Delivery, Gateway, Ledger, Outgoing, Publisher
    from bridge.runtime.metrics import Metrics

#: Seconds between two looks at the gate and the publisher while commands wait for them.
LOOK = 0.1
#: Seconds until the ledger is tried again: the first time, and the most it doubles to.
LEDGER_PAUSE = 0.2
LONGEST_LEDGER_PAUSE = 5.0
#: The share of a lease within which calls may run; the rest is for filing their answers. More than settings let one
#: call take (`bridge.settings.checks.LEASE_SHARE`): with no room to spare, none would ever start.
CALL_SHARE = 0.9


class Intake(CommandSource, Protocol):
    """The source of commands as the worker steers it."""

    def pause(self) -> None:
        """Take no more commands."""
        ...

    def resume(self) -> None:
        """Take commands again."""
        ...


class Worker:
    """Sends what the queue holds."""

    def __init__(
        self,
        *,
        publisher: Publisher,
        ledger: Ledger,
        gateway: Gateway,
        clock: Clock,
        rules: SendRules,
        concurrency: int,
        owner: str,
        stopping: threading.Event,
        metrics: Metrics,
        on_crash: Callable[[], None],
    ) -> None:
        """`owner` names this process in the ledger's claims; `stopping` cuts the gateway's waits short."""
        self._publisher = publisher
        self._ledger = ledger
        self._clock = clock
        self._rules = rules
        self._owner = owner
        self._stopping = stopping
        self._metrics = metrics
        self._on_crash = on_crash
        self._callers = Callers(gateway, concurrency)
        self._gate = Gate.open(concurrency)
        self._in_flight = 0
        self._jobs: set[Job] = set()
        self._waiting: deque[tuple[Job, int]] = deque()
        self._changes: list[tuple[Change, Callable[[object], None]]] = []
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._ended = threading.Event()
        self._source: Intake | None = None
        self._paused = False
        self._ledger_trouble: str | None = None
        self._log = structlog.get_logger()

    def start(self, source: Intake) -> None:
        """Begin to work on what `source` delivers to `receive`."""
        self._source = source
        self._callers.start()
        threading.Thread(target=self._run, name="desk", daemon=True).start()

    def stop(self, grace: float) -> bool:
        """Finish what is in flight within `grace` seconds and give the rest back; returns whether all was finished."""
        self._stopping.set()
        self._inbox.put(self._on_stop)
        finished = self._ended.wait(grace) and not self._jobs
        self._callers.stop()
        return finished

    def receive(self, delivery: Delivery) -> None:
        """Take a delivery. From any thread; returns at once."""
        self._inbox.put(partial(self._on_received, delivery))

    @property
    def trouble(self) -> str | None:
        """Why nothing is sent at the moment, where that is so."""
        return self._gate.trouble or self._ledger_trouble

    @property
    def _steered(self) -> Intake:
        assert self._source is not None  # noqa: S101 - set by `start`
        return self._source

    # --- the desk ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not (self._stopping.is_set() and not self._jobs and self._ended.is_set()):
                self._take()
                self._admit()
                while self._changes:
                    self._commit()
                    self._admit()
                self._steer()
                if self._stopping.is_set() and not self._jobs and self._inbox.empty():
                    self._ended.set()
        except Exception:  # noqa: BLE001 - whatever it is, a worker without its desk must not live on
            self._log.exception(
                "worker.crashed", hint="the process ends; the broker gives its commands to others"
            )
            # Nothing more will be finished: there is nothing to be patient for.
            self._ended.set()
            self._on_crash()

    def _take(self) -> None:
        """Wait for something to happen, then take in all that has."""
        held_up = bool(self._waiting) and not self._may_claim()
        try:
            self._inbox.get(timeout=LOOK if held_up or self._stopping.is_set() else 1.0)()
            while True:
                self._inbox.get_nowait()()
        except Empty:
            return

    def _may_claim(self) -> bool:
        return self._gate.room(self._in_flight, self._clock.monotonic()) and self._publisher.available

    def _admit(self) -> None:
        """Claim as many submissions as may be called for now: what is claimed and never called looks like a crash."""
        while self._waiting and not self._stopping.is_set() and self._may_claim():
            job, index = self._waiting.popleft()
            self._in_flight += 1
            self._claim(job, index)
        self._metrics.in_flight.set(len(self._jobs))

    def _commit(self) -> None:
        """Carry out all changes in one transaction, then go on with each."""
        changes, self._changes = self._changes, []
        results = self._apply([change for change, _ in changes])
        for (_, go_on), result in zip(changes, results, strict=True):
            go_on(result)

    def _apply(self, changes: list[Change]) -> list[object]:
        """Commit, however long it takes: without the ledger nothing may be called, told or settled."""
        pause = LEDGER_PAUSE
        while True:
            started = self._clock.monotonic()
            try:
                results = self._ledger.apply(changes)
            except LedgerUnavailable as e:
                self._ledger_trouble = f"the ledger can't commit: {e}"
                self._log.error("ledger.unavailable", reason=str(e), changes=len(changes), retry_in=pause)
                threading.Event().wait(pause)
                pause = min(LONGEST_LEDGER_PAUSE, pause * 2)
            else:
                self._ledger_trouble = None
                self._metrics.commit_seconds.observe(self._clock.monotonic() - started)
                self._metrics.commit_changes.observe(len(changes))
                return results

    def _steer(self) -> None:
        """Have the source pause while the account is refused, and go on when it is not."""
        closed = self._clock.monotonic() < self._gate.closed_until
        if closed != self._paused and not self._stopping.is_set():
            self._paused = closed
            if closed:
                self._log.warning("consuming.paused", reason=self._gate.trouble, seconds=self._gate.pause)
                self._steered.pause()
            else:
                self._log.info("consuming.resumed")
                self._steered.resume()

    # --- receive -------------------------------------------------------------------------------------------------

    def _on_received(self, delivery: Delivery) -> None:
        self._metrics.commands.inc()
        if self._stopping.is_set():
            self._steered.give_back(delivery)
            return
        now = self._clock.now()
        received = read(delivery, rules=self._rules.commands, now=now, spare_id=str(uuid.uuid4()))
        if isinstance(received.parsed, Malformed):
            job = Job(received, submissions=0)
            self._jobs.add(job)
            self._tell_invalid(job)
            self._finish(job)
            return
        job = Job(received, submissions=len(received.parsed.destinations))
        self._jobs.add(job)
        self._waiting.extend((job, index) for index in range(job.open))

    def _on_stop(self) -> None:
        """Give back what has no claim; a command that is partly sent is given back once its claims are settled."""
        for job, _ in self._waiting:
            job.given_back = True
            job.open -= 1
        untouched = {job for job, _ in self._waiting if job.open == 0}
        self._waiting.clear()
        for job in untouched:
            self._close(job)

    # --- claim ---------------------------------------------------------------------------------------------------

    def _claim(self, job: Job, index: int) -> None:
        received = job.received
        claim = Claim(
            command=job.command,
            index=index,
            owner=self._owner,
            lease=self._rules.lease,
            now=self._clock.now(),
            style=self._rules.style,
            generation=job.generation,
            traceparent=received.traceparent,
        )
        until = self._clock.monotonic() + self._rules.lease * CALL_SHARE
        self._change(claim, partial(self._on_claimed, job, index, until))

    def _on_claimed(self, job: Job, index: int, until: float, result: object) -> None:
        verdict = cast("Verdict", result)
        if isinstance(verdict, Call):
            job.generation = verdict.generation
            self._call(job, index, verdict, until)
            return
        self._in_flight -= 1
        match verdict:
            case Tell():
                # A duplicate of a command that ended long ago leaves no second dead letter; a redelivery may owe one.
                dead = verdict.fresh or job.received.delivery.redelivered
                self._tell_outcome(job, index, verdict.outcome, verdict.told, dead=dead, fresh=verdict.fresh)
            case Later():
                job.wait(index, verdict.at, itself=verdict.own)
            case Conflict():
                if not job.conflicting:
                    job.conflicting = True
                    self._tell_invalid(job)
            case Superseded():
                self._log.debug("command.superseded", command_id=job.command.id, index=index)
            case _:
                assert_never(verdict)
        self._end(job)

    # --- call ----------------------------------------------------------------------------------------------------

    def _call(self, job: Job, index: int, call: Call, until: float) -> None:
        command = job.command
        published_at = job.published_at()
        if call.attempts == 0 and published_at is not None:
            self._metrics.age_seconds.observe(max(0.0, self._clock.now() - published_at))
        submission = Submission(
            command_id=command.id,
            index=index,
            destination_address=command.destinations[index].wire,
            sender_address=command.sender.wire,
            message=command.message,
            traceparent=job.received.traceparent,
        )
        started = self._clock.monotonic()
        self._callers.call(
            submission,
            until=until,
            answered=lambda attempted: self._inbox.put(
                partial(self._on_answered, job, index, call, attempted, self._clock.monotonic() - started)
            ),
        )

    def _on_answered(self, job: Job, index: int, call: Call, attempted: Attempted, seconds: float) -> None:
        self._in_flight -= 1
        self._metrics.call_seconds.observe(seconds)
        answer = attempted.answer
        if attempted.attempts:
            self._metrics.attempts[type(answer).__name__.lower()].inc(attempted.attempts)
        self._judge_account(answer)
        filing = self._judge(job, index, call, attempted)
        file = File(
            command_id=job.command_id,
            index=index,
            owner=self._owner,
            filing=filing,
            now=self._clock.now(),
        )
        self._change(file, partial(self._on_filed, job, index, filing))

    def _judge_account(self, answer: Answer) -> None:
        now = self._clock.monotonic()
        if isinstance(answer, Blocked):
            error = answer.error
            self._gate = self._gate.failed(
                now, f"the provider refuses the account: {error.exception_id or error.name}"
            )
        elif isinstance(answer, Accepted | Refused):
            self._gate = self._gate.succeeded(now)

    def _judge(self, job: Job, index: int, call: Call, attempted: Attempted) -> Filing:
        now = self._clock.now()
        if not attempted.attempts and isinstance(attempted.answer, Unsent):
            # No call was made at all, for want of time or because of a stop: as if it had never been claimed.
            return Filing(outcome=None, event=None, result=Result(attempts=call.attempts), retry_at=now)
        judgement = Judgement(
            command=job.command,
            index=index,
            answer=attempted.answer,
            attempts=call.attempts + attempted.attempts,
            attempts_before=call.attempts,
            first_attempt_at=call.first_attempt_at,
            now=now,
            chance=random.random(),  # noqa: S311 - jitter
            traceparent=job.received.traceparent,
        )
        return judge(judgement, retry=self._rules.retry, style=self._rules.style)

    # --- file ----------------------------------------------------------------------------------------------------

    def _on_filed(self, job: Job, index: int, filing: Filing, result: object) -> None:
        if not result:
            # Another worker took it over while we were slow. What we know it may not: it stays in the log.
            self._log.error("claim.lost", command_id=job.command_id, index=index, outcome=filing.outcome)
            job.given_back = True
        elif filing.outcome is not None and filing.event is not None:
            told = Told(event_id=filing.event.id, body=filing.event.body)
            self._tell_outcome(job, index, filing.outcome, told, dead=True, fresh=True)
        elif filing.event is not None and filing.retry_at is not None:
            self._tell(job, [tell_event(filing.event, self._rules)])
            job.wait(index, filing.retry_at, itself=True)
        elif self._stopping.is_set():
            job.given_back = True
        else:
            # The account, not the command, was at fault: it waits here, in its place.
            self._waiting.appendleft((job, index))
            return
        self._end(job)

    # --- tell ----------------------------------------------------------------------------------------------------

    def _tell_outcome(
        self, job: Job, index: int, outcome: Outcome, told: Told, *, dead: bool, fresh: bool
    ) -> None:
        now = self._clock.now()
        self._tell(job, tell_outcome(job.received, index, outcome, told, self._rules, dead=dead, now=now))
        if fresh:
            self._metrics.outcomes[outcome.event_type].inc()
        self._log.info(
            "submission.ended" if fresh else "submission.told_again",
            command_id=job.command_id,
            index=index,
            outcome=outcome.value,
            event_id=told.event_id,
            destination=mask_number(job.command.destinations[index].wire),
        )

    def _tell_invalid(self, job: Job) -> None:
        telling = tell_invalid(job.received, self._rules, now=self._clock.now(), conflict=job.conflicting)
        self._tell(job, telling)
        self._metrics.outcomes["sms.outbound.invalid"].inc()
        parsed = job.received.parsed
        reasons = parsed.reasons if isinstance(parsed, Malformed) else ("conflict",)
        self._log.info("command.invalid", command_id=parsed.id, reasons=reasons)

    def _tell(self, job: Job, messages: list[Outgoing]) -> None:
        job.untold += len(messages)
        for message in messages:
            if message.routing_key == self._rules.routes.dead_queue:
                self._metrics.dead_letters[f"sms.outbound.{message.headers['x-bridge-outcome']}"].inc()
            self._publisher.publish(message, partial(self._inbox.put, partial(self._on_told, job)))

    def _on_told(self, job: Job) -> None:
        job.untold -= 1
        self._settle(job)

    # --- settle --------------------------------------------------------------------------------------------------

    def _end(self, job: Job) -> None:
        """One of the job's submissions has come as far as it does this time."""
        job.open -= 1
        if job.open == 0:
            self._close(job)

    def _close(self, job: Job) -> None:
        """All of the job's submissions have: what waits goes to the delay, the rest is done."""
        if job.waits and job.waits_itself and not job.given_back:
            now = self._clock.now()
            hand_over = HandOver(command_id=job.command_id, generation=job.generation, now=now)
            self._change(hand_over, partial(self._on_handed_over, job))
            for index in job.waits:
                self._change(Carry(command_id=job.command_id, index=index), _nothing)
            return
        if job.waits and not job.given_back:
            self._delay(job, job.received.generation)
        self._finish(job)

    def _on_handed_over(self, job: Job, generation: object) -> None:
        # Where another delivery speaks for the command by now, this one waits like any second one.
        self._delay(job, generation if isinstance(generation, int) else job.received.generation)
        self._finish(job)

    def _delay(self, job: Job, generation: int) -> None:
        at = min(job.waits.values())
        self._tell(job, [to_the_delay(job.received, generation, self._rules, at=at, now=self._clock.now())])

    def _finish(self, job: Job) -> None:
        job.closed = True
        self._settle(job)

    def _settle(self, job: Job) -> None:
        """Settle the delivery once, when all it led to is durable."""
        if not job.closed or job.untold or job not in self._jobs:
            return
        self._jobs.discard(job)
        if job.given_back:
            self._steered.give_back(job.received.delivery)
        else:
            self._steered.ack(job.received.delivery)

    def _change(self, change: Change, go_on: Callable[[object], None]) -> None:
        self._changes.append((change, go_on))


def _nothing(_result: object) -> None:
    """Go on with nothing."""
