"""The executor: carries out the actions of all deliveries in flight, many at once.

`bridge.worker.delivery` has the order of a delivery. The executor completes each action, or starts it on another
thread, and resumes the delivery with the result. It runs on the loop's thread.
"""

from __future__ import annotations

import itertools
import random
import uuid
from functools import partial
from typing import TYPE_CHECKING, Final

from bridge.domain.ledger import Call, Lookup, ReadCommand, Superseded
from bridge.ops import failpoints
from bridge.worker.actions import (
    Acknowledge,
    Answered,
    AwaitConfirms,
    BeginVersion,
    Claimed,
    ClaimSubmission,
    FindCommand,
    Fork,
    HistoryRead,
    Joined,
    Pause,
    ReadHistory,
    Recorded,
    RecordResult,
    Requeue,
    SendSubmission,
    WaitHere,
)
from bridge.worker.admission import IDLE, POLL
from bridge.worker.delivery import CommandDelivery
from bridge.worker.execution import Branch, Execution, InFlight
from bridge.worker.loop import do_nothing

if TYPE_CHECKING:
    from collections import deque

    from bridge.domain.evidence import HistoryExtract
    from bridge.domain.ledger import RecordedResult, Verdict
    from bridge.domain.messages import Delivery
    from bridge.domain.submissions import Attempted
    from bridge.worker.actions import Action
    from bridge.worker.ledger_clock import LedgerClock
    from bridge.worker.parts import Machinery, WorkerOptions

#: The share of a lease in which calls may run; the rest is for recording their answers. It is greater than the share
#: that settings allow one call (`bridge.settings.checks.LEASE_SHARE`): otherwise no call would start.
CALL_SHARE = 0.9
#: Seconds between two checks whether the source has to be paused.
UPDATE_EVERY = 0.05
UNCONFIRMED = "the broker has requeued commands whose outcomes are not published yet"
#: The result of a completed wait.
WAITED: Final = True


class Executor:
    """Owns the deliveries in flight. Used on the loop's thread."""

    def __init__(self, machinery: Machinery, settings: WorkerOptions, clock: LedgerClock) -> None:
        self._loop = machinery.loop
        self._calls = machinery.calls
        self._flow_control = machinery.flow_control
        self._admission = machinery.admission
        self._publications = machinery.publications
        self._report = machinery.report
        self._received = machinery.received
        self._settings = settings
        self._clock = clock
        #: Numbers for unique claim names: a call that ran past its lease must not be taken for a later claim.
        self._claims = itertools.count(1)
        #: Deliveries that are not acknowledged.
        self.in_flight = InFlight(settings.concurrency)
        self._stopping = False
        self._update_at = 0.0

    def receive(self, inbox: deque[Delivery]) -> None:
        """Start the next delivery of a connection."""
        try:
            delivery = inbox.popleft()
        except IndexError:
            # The connection was lost since.
            return
        if self._stopping:
            self.in_flight.refuse(delivery)
            return
        flow = CommandDelivery(
            delivery, self._settings.rules, now=self._clock.now(), new_id=lambda: str(uuid.uuid4())
        )
        execution = Execution(flow)
        self.in_flight.add(execution)
        self._received.inc()
        if delivery.given_up or delivery.unreadable or flow.received.parsed.unknown_fields:
            self._report.parsed(flow.received)
        if self._publications.tracing is not None:
            self._publications.trace(execution)
        self._resume(execution.main, None)

    def stop(self) -> None:
        """Claim nothing more, and requeue every delivery without a claim."""
        self._stopping = True
        self._release()

    def lose(self) -> None:
        """Continue only with claims: the connection was lost, and the broker has requeued all deliveries."""
        self.in_flight.lose()
        self._release()

    def clock_set(self, step: float) -> None:
        """Keep the remaining waits after the clock was set by `step` seconds."""
        self._admission.clock_set(step)
        for execution in self.in_flight.all:
            execution.flow.clock_set(step)

    def go_on(self) -> float | None:
        """Resume waits that are over, claim what may be claimed, and flush; see `bridge.worker.loop.Work`.

        Returns the seconds until the next call is due even if nothing happens; None when a stop is complete.
        """
        if not self._stopping:
            self._update()
            self._admit()
        if self._publications.unflushed:
            self._publications.flush()
        if self.in_flight.unflushed:
            self.in_flight.flush()
        if self._stopping and not self.in_flight.all:
            return None
        if self._stopping or self._flow_control.paused:
            return POLL
        return (
            self._admission.wait_seconds() if self._admission.waiting or self._admission.unclaimed else IDLE
        )

    def _update(self) -> None:
        """Pause or resume the source, and probe the provider, if either is due."""
        now, flow = self._clock.monotonic(), self._flow_control
        # Without delay once the circuit breaker is open: commands arrive until the source is paused.
        if now >= self._update_at or not flow.breaker.allowed or flow.paused or self.in_flight.lost:
            self._update_at = now + UPDATE_EVERY
            is_clogged = self.in_flight.lost and self.in_flight.is_clogged
            flow.update(UNCONFIRMED if is_clogged else None)

    def _admit(self) -> None:
        """Resume waits that are over, and claim only as many submissions as may be sent now.

        A claim without a call is indistinguishable from a crash.
        """
        if self._admission.waiting:
            for branch in self._admission.due():
                self._resume(branch, WAITED)
        if self._admission.unclaimed:
            for branch in self._admission.admit():
                self._claim(branch)

    def on_ledger_unavailable(self) -> None:
        """Pause the source: without the ledger no command can be claimed. The next iteration resumes it."""
        self._flow_control.update(self._loop.problem)

    def _resume(self, branch: Branch, result: object) -> None:  # noqa: C901 - a few lines for each action
        """Send a branch the result of its action, and carry out the following ones until one has to wait."""
        execution = branch.execution
        while True:
            try:
                action: Action = branch.steps.send(result)
            except StopIteration:
                self._end(branch)
                return
            is_released, result = self._stopping or execution.lost, None
            match action:
                case ClaimSubmission() if is_released:
                    result = self._not_claimed()
                    continue
                case ClaimSubmission():
                    self._admission.ask(branch, action)
                case SendSubmission():
                    failpoints.reach("claimed")
                    answered = partial(self._on_answer, branch, action, self._clock.monotonic())
                    self._calls.send(action.submission, until=branch.until, answered=answered)
                case ReadHistory(submission, window):
                    found = partial(self._on_reading, branch)
                    self._calls.look_up(submission, window=window, until=branch.until, found=found)
                case RecordResult():
                    self._loop.changes.append((action.change, partial(self._recorded, branch, action)))
                case BeginVersion():
                    first, *others = action.changes
                    self._loop.changes.append((first, partial(self._version_begun, branch)))
                    self._loop.changes.extend((change, do_nothing) for change in others)
                case FindCommand(command_id):
                    known = ReadCommand(command_id=command_id)
                    self._loop.changes.append((known, partial(self._found, branch)))
                case Fork(branches):
                    execution.forked = len(branches)
                    for steps in branches:
                        self._resume(Branch(execution, steps), None)
                case WaitHere() | Pause() if is_released:
                    result = WAITED
                    continue
                case Pause(seconds):
                    self._admission.wait(branch, action, self._clock.now() + seconds)
                case WaitHere():
                    if not self._admission.wait_for_limit(branch, action):
                        result = False
                        continue
                case AwaitConfirms():
                    execution.awaits_confirms = execution.unconfirmed > 0
                    if not execution.awaits_confirms:
                        continue
                case Acknowledge() | Requeue():
                    failpoints.reach("published")
                    self.in_flight.settle(execution, requeue=isinstance(action, Requeue))
                    continue
                case _:
                    confirmed = partial(self._loop.post, partial(self._confirmed, execution))
                    self._publications.publish(execution, action, confirmed)
                    continue
            return

    def _end(self, branch: Branch) -> None:
        execution = branch.execution
        if branch is execution.main:
            # Break the reference cycle, which would otherwise wait for the garbage collector.
            del execution.main
            return
        execution.forked -= 1
        if not execution.forked:
            self._resume(execution.main, Joined(lost=execution.lost, now=self._clock.now()))

    def _release(self) -> None:
        """End the waits of deliveries that may not continue: refuse their claims, and end their pauses."""
        for branch in self._admission.remove(lambda execution: self._stopping or execution.lost):
            claims = isinstance(branch.waits_for, ClaimSubmission)
            self._resume(branch, self._not_claimed() if claims else WAITED)

    def _not_claimed(self) -> Claimed:
        return Claimed(None, "", self._clock.now())

    def _claim(self, branch: Branch) -> None:
        failpoints.reach("claiming")
        branch.owner = f"{self._settings.owner} {next(self._claims)}"
        claim = branch.execution.flow.claim(branch.index, owner=branch.owner, now=self._clock.now())
        branch.until = self._clock.monotonic() + self._settings.rules.ledger.lease * CALL_SHARE
        self._loop.changes.append((claim, partial(self._claimed, branch)))

    def _claimed(self, branch: Branch, verdict: Verdict | None) -> None:
        if not isinstance(verdict, Call | Lookup):
            self._flow_control.leave()
            if isinstance(verdict, Superseded):
                self._report.superseded(branch.execution.flow.received, branch.index)
        self._resume(branch, Claimed(verdict, branch.owner, self._clock.now()))

    def _found(self, branch: Branch, content_hash: bytes | None) -> None:
        self._resume(branch, None if self._stopping or branch.execution.lost else content_hash)

    def _on_answer(
        self, branch: Branch, action: SendSubmission, started: float, attempted: Attempted
    ) -> None:
        """Pass an answer to the loop. On a provider-call thread."""
        seconds = self._clock.monotonic() - started
        self._loop.post(partial(self._answered, branch, action, attempted, seconds))

    def _answered(self, branch: Branch, action: SendSubmission, attempted: Attempted, seconds: float) -> None:
        failpoints.reach("answered")
        now = self._clock.now()
        self._report.answered(branch.execution.flow.received, action, attempted, seconds, now)
        if attempted.attempts:
            self._flow_control.answered(attempted.answer)
        else:
            self._flow_control.leave()
        self._resume(branch, Answered(attempted, now, random.random()))  # noqa: S311 - jitter

    def _on_reading(self, branch: Branch, reading: HistoryExtract | None) -> None:
        """Pass a history to the loop. On a provider-call thread."""
        self._loop.post(partial(self._looked_up, branch, reading))

    def _looked_up(self, branch: Branch, reading: HistoryExtract | None) -> None:
        failpoints.reach("looked-up")
        self._flow_control.leave()
        self._resume(branch, HistoryRead(reading, self._clock.now()))

    def _recorded(self, branch: Branch, action: RecordResult, recorded: RecordedResult | None) -> None:
        failpoints.reach("recorded")
        if recorded is None or recorded.lookup_result is not None:
            self._report.recorded(branch.execution.flow.received, action.index, recorded)
        self._resume(branch, Recorded(recorded, self._clock.now()))

    def _version_begun(self, branch: Branch, version: int | None) -> None:
        failpoints.reach("version-begun")
        self._resume(branch, version)

    def _confirmed(self, execution: Execution) -> None:
        execution.unconfirmed -= 1
        if execution.awaits_confirms and not execution.unconfirmed:
            self._resume(execution.main, None)
