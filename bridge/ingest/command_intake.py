"""Intake of commands over HTTP (docs/messages.md): validates, runs the steps of `bridge.ingest.submission`, answers.

Each request is answered once, within its time limit. A result that comes later is ignored.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import structlog

from bridge.concurrency.event_loop import Deadlines, LoopCaller
from bridge.domain.command_parser import id_or_none
from bridge.domain.errors import CommandInvalid, Invalid
from bridge.domain.shown_commands import to_senders
from bridge.domain.shown_ids import shown_beside
from bridge.domain.submitted_commands import make_ready
from bridge.ingest.command_lookup import UNAVAILABLE, NoAnswer
from bridge.ingest.memory import LATER
from bridge.ingest.submission import CheckBroker, FindContent, PublishCommand, submit
from bridge.ops import spans
from bridge.ports.http_results import Operation, SubmitResult, Unknown, status_of

if TYPE_CHECKING:
    from bridge.domain.commands import CommandRules
    from bridge.domain.messages import SubmittedCommand
    from bridge.domain.submitted_commands import ValidatedCommand
    from bridge.ingest.command_lookup import Lookups, Records
    from bridge.ingest.submission import SubmissionStep
    from bridge.ops.metrics import Metrics
    from bridge.ops.spans import SubmitTracing
    from bridge.ports import Clock, OneShotPublisher, Span
    from bridge.ports.http_results import CommandAnswered, CommandShown

_log = structlog.get_logger()

#: Seconds that the ledger has to answer: about a command that is submitted, about one that is to be shown.
COMPARE_TIMEOUT = 0.5
SHOW_TIMEOUT = 2.0
#: Seconds between two log lines about requests refused with the same status: strangers don't fill our disk.
_REFUSALS_EVERY = 60.0


class _Submission:
    """A command whose sender waits."""

    __slots__ = ("answered", "client", "started", "steps", "until", "validated")

    def __init__(
        self,
        validated: ValidatedCommand,
        answered: CommandAnswered,
        *,
        client: str | None,
        started: float,
        until: float,
    ) -> None:
        self.validated = validated
        self.steps = submit(validated)
        self.answered = answered
        self.client = client
        #: `Clock.monotonic` seconds.
        self.started = started
        self.until = until


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeRules:
    """How commands that come by HTTP are read and published."""

    commands: CommandRules
    #: The exchange for commands.
    exchange: str
    #: Seconds that a command waits for the broker's confirm, at most.
    confirm_timeout: float


class CommandIntake:
    """Publishes commands that come by HTTP, and answers for them. All of it runs on the server's event loop."""

    def __init__(
        self,
        one_shot: OneShotPublisher,
        lookups: Lookups,
        rules: IntakeRules,
        clock: Clock,
        metrics: Metrics,
        traces: SubmitTracing | None = None,
    ) -> None:
        self._traces = traces
        self._one_shot = one_shot
        self._lookups = lookups
        self._make_ready = partial(
            make_ready, rules=rules.commands, exchange=rules.exchange, new_id=lambda: str(uuid.uuid4())
        )
        self._clock = clock
        self._metrics = metrics
        self._confirm_timeout = rules.confirm_timeout
        self._caller: LoopCaller | None = None
        self._deadlines: Deadlines[_Submission] = Deadlines(
            partial(self._answer, result=SubmitResult.UNCONFIRMED)
        )
        self._logged: dict[int, float] = {}

    def take(self, submitted_command: SubmittedCommand, answered: CommandAnswered) -> None:
        """Publish a command, and call `answered` when the broker has confirmed it or the request's time is over.

        Raises:
            Invalid: the command is not valid; `answered` is not called.

        """
        started = self._clock.monotonic()
        if self._traces is None:
            validated = self._read(submitted_command)
        else:
            span = self._traces.submitted_command(submitted_command.traceparent)
            answered = partial(_answer_and_end, answered, span)
            validated = self._read_in(span, submitted_command)
        until = started + self._confirm_timeout
        submission = _Submission(
            validated, answered, client=submitted_command.client, started=started, until=until
        )
        self._caller = caller = LoopCaller.here(self._caller)
        self._deadlines.set(submission, caller.loop.time() + self._confirm_timeout)
        try:
            self._resume(submission, None)
        except Exception:
            # The caller answers for the exception, so no second answer may follow.
            self._deadlines.clear(submission)
            raise

    def show(self, command_id: str, shown: CommandShown) -> None:
        """Call `shown` with what the ledger knows of a command, or why there is nothing to show."""
        show = partial(self._show, shown, command_id, self._clock.monotonic())
        if id_or_none(command_id) is None:
            show(None)
        else:
            self._lookups.ask(partial(_state, command_id=command_id), show, timeout=SHOW_TIMEOUT)

    def refused(self, operation: Operation, status: int, client: str | None = None) -> None:
        """Count a request that was refused; log the first in a minute for each status, and who it was."""
        self._metrics.submits[operation.value, status].inc()
        now = self._clock.monotonic()
        if now - self._logged.get(status, -_REFUSALS_EVERY) >= _REFUSALS_EVERY:
            self._logged[status] = now
            _log.warning("command.refused", command_id=None, status=status, client=client)

    def _read(self, submitted_command: SubmittedCommand) -> ValidatedCommand:
        try:
            return self._make_ready(submitted_command, now=self._clock.now())
        except Invalid as error:
            status = _status_of_invalid(error)
            self._metrics.submits[Operation.SUBMIT.value, status].inc()
            _log.info(
                "command.refused",
                command_id=_shown_key(submitted_command.key, error),
                status=status,
                reasons=error.reasons,
                bytes=len(submitted_command.body),
                client=submitted_command.client,
            )
            raise

    def _read_in(self, span: Span, submitted_command: SubmittedCommand) -> ValidatedCommand:
        try:
            return self._read(replace(submitted_command, traceparent=span.traceparent))
        except Invalid as error:
            spans.answered(span, _status_of_invalid(error))
            raise

    def _resume(self, submission: _Submission, result: object) -> None:
        """Go on with a command, up to an action whose result comes later."""
        try:
            while result is not LATER:
                result = self._carry_out(submission, submission.steps.send(result))
        except StopIteration as end:
            self._answer_open(submission, end.value)

    def _carry_out(self, submission: _Submission, step: SubmissionStep) -> object:
        match step:
            case CheckBroker():
                return self._one_shot.available
            case FindContent():
                ask = partial(_content_hash, command_id=step.command_id)
                timeout = min(COMPARE_TIMEOUT, self._confirm_timeout / 2)
                self._lookups.ask(ask, partial(self._found, submission), timeout=timeout)
            case PublishCommand():
                self._caller = caller = LoopCaller.here(self._caller)
                # Runs on any thread, at any time, also after this server has stopped.
                settled = partial(caller.call, partial(self._resume, submission))
                self._one_shot.publish_once(step.message, settled, until=submission.until)
        return LATER

    def _found(self, submission: _Submission, known: bytes | NoAnswer | Exception | None) -> None:
        if isinstance(known, Exception):
            self._answer_open(submission, known)
        else:
            self._resume(submission, known if isinstance(known, bytes) else None)

    def _answer_open(self, submission: _Submission, result: SubmitResult | Exception) -> None:
        """Answer, unless the deadline has answered already."""
        if self._deadlines.clear(submission):
            self._answer(submission, result)

    def _answer(self, submission: _Submission, result: SubmitResult | Exception) -> None:
        validated = submission.validated
        if not isinstance(result, Exception):
            status = status_of(result)
            elapsed = self._clock.monotonic() - submission.started
            self._metrics.submits[Operation.SUBMIT.value, status].inc()
            if result is SubmitResult.QUEUED:
                self._metrics.submit_seconds.observe(elapsed)
            log = _log.info if result is SubmitResult.QUEUED else _log.warning
            log(
                "command.queued" if result is SubmitResult.QUEUED else "command.refused",
                command_id=validated.shown_id,
                status=status,
                reason=result.name.lower(),
                destinations=validated.destinations,
                client=submission.client,
                ms=round(elapsed * 1000, 1),
            )
        submission.answered(validated.id, result)

    def _show(
        self, shown: CommandShown, command_id: str, started: float, found: bytes | NoAnswer | Exception | None
    ) -> None:
        if isinstance(found, Exception):
            shown(found)
            return
        unknown = Unknown.UNAVAILABLE if found is UNAVAILABLE else Unknown.UNKNOWN
        answer = found if isinstance(found, bytes) else unknown
        status = status_of(None if isinstance(answer, bytes) else answer)
        self._metrics.submits[Operation.SHOW.value, status].inc()
        elapsed = self._clock.monotonic() - started
        _log.info("command.shown", command_id=command_id, status=status, ms=round(elapsed * 1000, 1))
        shown(answer)


def _shown_key(key: str | None, error: Invalid) -> str | None:
    """Return the id that came beside a command that is not valid, as a log may have it."""
    addresses = error.addresses if isinstance(error, CommandInvalid) else None
    return None if key is None else shown_beside(key, addresses)


def _status_of_invalid(error: Invalid) -> int:
    return 422 if isinstance(error, CommandInvalid) else 400


def _answer_and_end(
    answered: CommandAnswered, span: Span, id_: str, result: SubmitResult | Exception
) -> None:
    answered(id_, result)
    spans.answered(span, 500 if isinstance(result, Exception) else status_of(result))


def _content_hash(records: Records, command_id: str) -> bytes | None:
    return records.content_hash(command_id)


def _state(records: Records, command_id: str) -> bytes | None:
    """Return how far a command is, as it is answered; on the thread that reads the ledger."""
    record = records.command(command_id)
    return None if record is None else json.dumps(to_senders(record), ensure_ascii=False).encode()
