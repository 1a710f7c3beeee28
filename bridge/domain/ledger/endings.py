"""Endings of a claim after a call: an outcome, or the time of the next step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from bridge.domain.answers import ProviderError
from bridge.domain.ledger.limits import ACCOUNT, hold_back
from bridge.domain.ledger.lost_rows import restore_row
from bridge.domain.ledger.records import (
    ATTEMPTING,
    IN_DOUBT,
    WAITING,
    CommandRecord,
    StoredEvent,
    SubmissionRecord,
    changed,
)
from bridge.domain.ledger.unit_of_work import Expected, ReadSet, SubmissionId
from bridge.domain.outcomes import EventFormat, Outcome, SubmissionResult, outcome_event

if TYPE_CHECKING:
    from bridge.domain.commands import SendSms
    from bridge.domain.events import Event
    from bridge.domain.evidence import Evidence
    from bridge.domain.ledger.claim import Claim
    from bridge.domain.ledger.resolve import Resolve
    from bridge.domain.ledger.unit_of_work import UnitOfWork
    from bridge.domain.rules import LedgerRules, ReceiptRules

#: RabbitMQ's dead-letter reason for a message that has expired.
EXPIRED_BY_BROKER = "expired"
#: Seconds. No call takes longer from its start until its answer is recorded.
LONGEST_CALL = 3600.0


def end(
    unit: UnitOfWork,
    change: Claim | RecordAnswer | Resolve,
    record: CommandRecord,
    submission: SubmissionRecord,
    outcome: Outcome,
    result: SubmissionResult,
) -> StoredEvent:
    """Record the outcome of a submission, and return its event.

    The pending receipt of a sent submission is recorded in the same transaction, so that a crash does not lose it.
    """
    event = outcome_event(
        outcome,
        change.command,
        submission.index,
        result,
        style=change.style,
        now=change.now,
        traceparent=change.traceparent,
    )
    stored_event = StoredEvent(event_id=event.id, body=event.body)
    ended = submission.released(
        outcome.value,
        retry_at=None,
        attempts=result.attempts,
        # A message id from a late answer is kept, so that no other submission can match the message.
        message_id=result.message_id or submission.message_id,
        # Not the owner's version: if the owner crashes now, a copy that was made since has to publish the outcome.
        recorded_in=record.version,
        stored_event=stored_event,
    )
    unit.commands[record.id] = record.having(ended, now=change.now)
    receipts = change.receipts
    if receipts is not None and outcome is Outcome.SENT and ended.message_id is not None:
        submission_id = SubmissionId(command_id=record.id, index=ended.index)
        unit.expected[submission_id] = Expected(sent_at=change.now, ask_at=change.now + receipts.first)
    return stored_event


def too_late(command: SendSms, *, now: float) -> tuple[Outcome, ProviderError] | None:
    """Return the outcome of a submission that must not be sent any more; None if it may be sent."""
    if command.given_up == EXPIRED_BY_BROKER:
        why = "it expired at the broker: its AMQP expiration, or a message-ttl policy on the queue"
        return Outcome.EXPIRED, ProviderError(name="expired", message=why)
    if command.given_up is not None:
        why = f"the broker gave it up before it was sent: {command.given_up}"
        return Outcome.FAILED, ProviderError(name=command.given_up, message=why)
    if command.expires_at is not None and now >= command.expires_at:
        why = "expires_at passed before it could be submitted"
        return Outcome.EXPIRED, ProviderError(name="expired", message=why)
    return None


def may_resend(submission: SubmissionRecord, rule: str) -> bool:
    """Return whether to send it again: as configured, but as the operator asked for the first lookup of a replay."""
    return submission.resend_asked or (submission.may_resend and rule == "resend")


def may_resend_unknown(
    submission: SubmissionRecord, command: SendSms, rules: LedgerRules, *, now: float
) -> bool:
    """Return whether to resend a submission whose lookup result is undetermined.

    Never once it has expired: it may have been sent in time.
    """
    if too_late(command, now=now) is not None:
        return False
    attempted_at = submission.doubt_until or now
    is_over = attempted_at >= (submission.first_attempt_at or now) + rules.retry.max_age
    return submission.resend_asked or (not is_over and may_resend(submission, rules.reconcile.on_unknown))


def as_unknown(outcome: Outcome, error: ProviderError | None) -> tuple[Outcome, ProviderError | None]:
    """Return an ending as `unknown` if it would mean "not sent": an earlier attempt of the submission is in doubt."""
    if outcome not in {Outcome.REJECTED, Outcome.FAILED, Outcome.EXPIRED}:
        return outcome, error
    last = "" if error is None or error.message is None else f": {error.message}"
    why = f"an earlier attempt may have been sent; the last one ended as {outcome.value}{last}"
    return Outcome.UNKNOWN, replace(error or ProviderError(name="ambiguous"), name="ambiguous", message=why)


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStep:
    """The decision after a call: an outcome, or another call or lookup at `retry_at`."""

    outcome: Outcome | None
    result: SubmissionResult
    retry_at: float | None = None
    #: Whether the submission is in doubt.
    in_doubt: bool = False
    #: Whether the provider has confirmed that it has the submission.
    submitted: bool = False
    #: The event that reports the deferral.
    deferred: Event | None = None
    #: Until when the provider wants no calls of the whole account, in seconds since the epoch.
    hold_until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedResult:
    """A recorded result: an outcome to publish, or the time of the next step."""

    outcome: Outcome | None = None
    stored_event: StoredEvent | None = None
    retry_at: float | None = None
    deferred: Event | None = None
    #: The lookup result, if the recorded step was a history lookup.
    lookup_result: Literal["found", "not_found", "undetermined", "again"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordAnswer:
    """Record the result of a call. Returns None if the owner has lost its claim."""

    command: SendSms
    command_id: str
    index: int
    owner: str
    next_step: NextStep
    now: float
    style: EventFormat
    #: The message that the answer proves, kept for a worker that may have taken over.
    evidence: Evidence | None = None
    #: When the provider is polled for receipts; None if it is not.
    receipts: ReceiptRules | None = None
    traceparent: str | None = None

    @property
    def read_set(self) -> ReadSet:
        """The record, the account's limit if the provider throttles, and the owner of the message in the answer."""
        buckets = () if self.next_step.hold_until is None else (ACCOUNT,)
        return ReadSet(
            command_id=self.command_id,
            index=self.index,
            # An identical submission that is judged at the same time must not match the message of a late answer.
            locked_destination=None if self.evidence is None else self.evidence.destination_address,
            message_ids=() if self.evidence is None else (self.evidence.message_id,),
            buckets=buckets,
            locked_buckets=buckets,
        )

    def apply(self, unit: UnitOfWork) -> RecordedResult | None:
        """Record the result, unless the claim was lost."""
        if self.next_step.hold_until is not None:
            hold_back(unit, self.next_step.hold_until)
        record = unit.commands.get(self.command_id)
        submission = None if record is None else record.submissions.get(self.index)
        if (
            record is None
            or submission is None
            or submission.state != ATTEMPTING
            or submission.owner != self.owner
        ):
            if record is None or submission is None:
                record = restore_row(unit, self, since=self.now - LONGEST_CALL)
                submission = record.submissions[self.index]
            self._keep_evidence(unit, record, submission)
            return None
        if self.next_step.outcome is not None:
            return self._end(unit, record, submission, self.next_step.outcome)
        unit.commands[record.id] = record.having(self._open(submission), now=self.now)
        return RecordedResult(retry_at=self.next_step.retry_at, deferred=self.next_step.deferred)

    def _keep_evidence(self, unit: UnitOfWork, record: CommandRecord, submission: SubmissionRecord) -> None:
        """Keep the message of a late answer: it belongs to this submission, regardless of the new claim's result."""
        evidence = self.evidence
        if evidence is None or submission.match_key is None:
            return
        unit.seen.append((submission.match_key, evidence))
        if submission.message_id is None and unit.owner_of(evidence.message_id) is None:
            with_message = changed(submission, message_id=evidence.message_id)
            unit.commands[record.id] = record.having(with_message, now=self.now)

    def _end(
        self, unit: UnitOfWork, record: CommandRecord, submission: SubmissionRecord, outcome: Outcome
    ) -> RecordedResult:
        result = self.next_step.result
        if submission.replay:
            result = replace(result, replay=submission.replay)
        if submission.earlier_in_doubt:
            outcome, error = as_unknown(outcome, result.error)
            result = replace(result, error=error)
        stored_event = end(unit, self, record, submission, outcome, result)
        return RecordedResult(outcome=outcome, stored_event=stored_event)

    def _open(self, submission: SubmissionRecord) -> SubmissionRecord:
        """Return the submission without an outcome: it waits for another call, or is in doubt."""
        next_step, attempts = self.next_step, self.next_step.result.attempts
        released = submission.released(
            IN_DOUBT if next_step.in_doubt else WAITING,
            retry_at=next_step.retry_at,
            attempts=attempts,
            first_attempt_at=submission.first_attempt_at if attempts else None,
        )
        if not next_step.in_doubt:
            return released
        # From its claim to its answer; the earlier of both, since the clock may have been set in between.
        claimed_at = submission.claimed_at or self.now
        return changed(
            released,
            doubt_from=min(submission.doubt_from or self.now, claimed_at, self.now),
            doubt_until=max(claimed_at, self.now),
            submitted=next_step.submitted,
        )
