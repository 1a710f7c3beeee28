"""Resolution of a submission in doubt, from the result of a history lookup."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, assert_never

from bridge.domain.answers import ProviderError
from bridge.domain.evidence import Doubt, Other
from bridge.domain.ledger.endings import RecordedResult, end, may_resend, may_resend_unknown, too_late
from bridge.domain.ledger.lost_rows import doubt_from_any_call, restore_row
from bridge.domain.ledger.records import ATTEMPTING, IN_DOUBT, WAITING, changed
from bridge.domain.ledger.time import CLOCK, grace_until, is_of_another_time
from bridge.domain.ledger.unit_of_work import ReadSet, SubmissionId
from bridge.domain.match_keys import match_key
from bridge.domain.outcomes import EventFormat, Outcome, SubmissionResult
from bridge.domain.reconciliation import (
    IMPOSSIBLE,
    Found,
    LookupResult,
    NotInHistory,
    RetryLookup,
    Undetermined,
    judge_history,
)
from bridge.domain.rules import LedgerRules

if TYPE_CHECKING:
    from bridge.domain.commands import SendSms
    from bridge.domain.evidence import HistoryExtract
    from bridge.domain.ledger.records import CommandRecord, SubmissionRecord
    from bridge.domain.ledger.unit_of_work import UnitOfWork
    from bridge.domain.rules import ReceiptRules

#: The names of the lookup results in `RecordedResult`.
_LOOKUP_RESULTS: dict[type[LookupResult], Literal["found", "not_found", "undetermined", "again"]] = {
    Found: "found",
    NotInHistory: "not_found",
    Undetermined: "undetermined",
    RetryLookup: "again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolve:
    """Record the result of a history lookup. Returns None if the owner has lost its claim."""

    command: SendSms
    command_id: str
    index: int
    owner: str
    #: None if the history was unavailable.
    reading: HistoryExtract | None
    now: float
    style: EventFormat
    #: No message of the submission is older: see `Lookup`.
    since: float = 0.0
    rules: LedgerRules = field(default_factory=LedgerRules)
    traceparent: str | None = None

    @property
    def read_set(self) -> ReadSet:
        """The record, all submissions that its messages may belong to, and the owners of the messages found."""
        messages = () if self.reading is None else self.reading.messages
        return ReadSet(
            command_id=self.command_id,
            index=self.index,
            match_key=self._key,
            judged_key=self._key,
            since=self.since,
            message_ids=tuple(message.message_id for message in messages),
            buckets=(CLOCK,),
        )

    @property
    def receipts(self) -> ReceiptRules | None:
        """When the provider is polled for receipts; None if it is not."""
        return self.rules.receipts

    @property
    def _key(self) -> bytes:
        return match_key(self.command.destinations[self.index].wire, self.command.message)

    def apply(self, unit: UnitOfWork) -> RecordedResult | None:
        """Decide and record, unless the claim was lost."""
        record = unit.commands.get(self.command_id)
        submission = None if record is None else record.submissions.get(self.index)
        if record is None or submission is None:
            restore_row(unit, self, since=self.now - self.rules.retry.max_age)
            return None
        if submission.state != IN_DOUBT or submission.owner != self.owner:
            return None
        submission = self._in_our_time(submission)
        lookup_result = self._judge(unit, submission)
        recorded = self._record(unit, record, submission, lookup_result)
        return replace(recorded, lookup_result=_LOOKUP_RESULTS[type(lookup_result)])

    def _in_our_time(self, submission: SubmissionRecord) -> SubmissionRecord:
        """Return it in doubt until now if the clock was set back since its last attempt, whose time is then unknown.

        Only with a history: without one, the present time may be wrong (`bridge.adapters.cpaas.transport`).
        """
        if self.reading is None or not is_of_another_time(submission.doubt_until or 0.0, self.now):
            return submission
        since = doubt_from_any_call(submission, self.now, self.rules)
        return changed(submission, doubt_from=since, doubt_until=self.now)

    def _judge(self, unit: UnitOfWork, submission: SubmissionRecord) -> LookupResult:
        submission_id = SubmissionId(command_id=self.command_id, index=self.index)
        sender = self.command.sender
        until = submission.doubt_until or self.now
        given_up_at = (submission.first_attempt_at or self.now) + self.rules.retry.max_age
        doubt = Doubt(
            key=self._key,
            text=self.command.message,
            destination_address=self.command.destinations[self.index].wire,
            sender_address=sender.wire if self.command.names_sender and not sender.is_default else None,
            since=submission.doubt_from or self.now,
            until=until,
            give_up_at=max(given_up_at, until + self.rules.reconcile.settle),
            now=self.now,
            submitted=submission.submitted,
            message_id=submission.message_id,
            is_suspected=submission.is_suspected,
        )
        lookup_result = judge_history(
            doubt,
            self.reading,
            unit.evidence_of_destination(self._key),
            is_taken=lambda message_id: unit.owner_of(message_id) not in (None, submission_id),
            others=[self._other(other) for other in unit.others_of(self._key, submission_id)],
            rules=self.rules.reconcile,
        )
        if submission.match_key not in (None, self._key):
            lookup_result = self._judge_key(submission.match_key or b"", lookup_result)
        grace_end = grace_until(unit, self.now, self.rules)
        if grace_end is not None and not isinstance(lookup_result, Found):
            # After a clock step it is unknown how long the provider had to show the message.
            return RetryLookup(at=grace_end)
        return lookup_result

    def _judge_key(self, key: bytes, lookup_result: LookupResult) -> LookupResult:
        """Return the result for a submission that was recorded under another match key than it has now."""
        if len(key) == len(self._key):
            # It may have been sent to another number, which is not known any more.
            return Undetermined(
                reason="addresses.default_region has changed since its attempt, and with it its number"
            )
        if isinstance(lookup_result, NotInHistory):
            # Keys were shorter until layout 0006. Other submissions did not see this one, and may have its message.
            return Undetermined(
                reason="its attempt was recorded by an older version, so its absence can't be proved"
            )
        return lookup_result

    def _other(self, other: SubmissionRecord) -> Other:
        began_at, ended_at = other.claimed_at or self.now, other.doubt_until or other.claimed_at or self.now
        is_calling = self._is_calling(other)
        return Other(
            match_key=other.match_key or b"",
            since=min(other.doubt_from or ended_at, began_at) if is_calling else other.doubt_from or ended_at,
            until=math.inf if is_calling else ended_at,
            is_calling=is_calling,
            is_in_doubt=other.state == IN_DOUBT,
            looked_at=other.looked_at or 0.0,
            submitted=other.submitted or other.outcome is Outcome.SENT,
        )

    def _is_calling(self, other: SubmissionRecord) -> bool:
        """Whether a call may be in flight; after `retry.max_age` without a takeover, the command is gone."""
        lost_at = (other.lease_until or self.now) + self.rules.retry.max_age
        return other.state == ATTEMPTING and self.now < lost_at

    def _record(
        self,
        unit: UnitOfWork,
        record: CommandRecord,
        submission: SubmissionRecord,
        lookup_result: LookupResult,
    ) -> RecordedResult:
        ended = self._ended(submission, lookup_result)
        if ended is not None:
            outcome, result = ended
            stored_event = end(unit, self, record, submission, outcome, result)
            return RecordedResult(outcome=outcome, stored_event=stored_event)
        after = self._open(submission, lookup_result)
        unit.commands[record.id] = record.having(after, now=self.now)
        return RecordedResult(retry_at=after.retry_at)

    def _open(self, submission: SubmissionRecord, lookup_result: LookupResult) -> SubmissionRecord:
        """Return it without an outcome: it waits for another lookup, or for another call."""
        if isinstance(lookup_result, RetryLookup):
            looked_at = (
                self.reading.read_at
                if self.reading and lookup_result.recognises_none
                else submission.looked_at
            )
            return submission.released(IN_DOUBT, retry_at=lookup_result.at, looked_at=looked_at)
        # If it is absent, the history reaches back before its first attempt in doubt, so no attempt remains in doubt.
        return submission.released(
            WAITING, retry_at=self.now, earlier_in_doubt=isinstance(lookup_result, Undetermined)
        )

    def _ended(
        self, submission: SubmissionRecord, lookup_result: LookupResult
    ) -> tuple[Outcome, SubmissionResult] | None:
        """Return its outcome; None if it has none yet."""
        match lookup_result:
            case Found(message=message):
                result = replace(
                    submission.result(),
                    message_id=message.message_id,
                    sender_address=message.sender_address,
                    delivery_status=message.status,
                    reconciled=True,
                )
                return Outcome.UNDELIVERABLE if message.status == IMPOSSIBLE else Outcome.SENT, result
            case RetryLookup():
                return None
            case NotInHistory():
                return self._not_found(submission)
            case Undetermined(reason=reason):
                return self._undetermined(submission, reason)
        assert_never(lookup_result)

    def _not_found(self, submission: SubmissionRecord) -> tuple[Outcome, SubmissionResult] | None:
        if submission.was_taken:
            # The provider has confirmed it, so it was sent, regardless of the history.
            return Outcome.SENT, submission.result()
        if not (submission.is_suspected or may_resend(submission, self.rules.reconcile.on_absent)):
            why = "the provider's history does not show it; it is not resent automatically"
            return Outcome.UNKNOWN, submission.result(ProviderError(name="ambiguous", message=why))
        late = too_late(self.command, now=self.now)
        if late is not None:
            outcome, error = late
            return outcome, submission.result(error)
        attempted_at = submission.doubt_until or self.now
        if attempted_at >= (submission.first_attempt_at or self.now) + self.rules.retry.max_age:
            why = "given up: the provider's history does not show its last attempt"
            return Outcome.FAILED, submission.result(ProviderError(name="ambiguous", message=why))
        return None

    def _undetermined(
        self, submission: SubmissionRecord, reason: str
    ) -> tuple[Outcome, SubmissionResult] | None:
        if submission.was_taken:
            return Outcome.SENT, submission.result()
        if may_resend_unknown(submission, self.command, self.rules, now=self.now):
            return None
        return Outcome.UNKNOWN, submission.result(ProviderError(name="ambiguous", message=reason))
