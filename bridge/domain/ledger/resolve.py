"""Deciding about a submission in doubt, from what a look at the provider's history brought."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, assert_never

from bridge.domain.answers import ProviderError
from bridge.domain.evidence import Doubt, Other
from bridge.domain.ledger.endings import RecordedResult, end, may_resend, may_resend_unknown, too_late
from bridge.domain.ledger.lost_rows import doubt_from_any_call, put_back
from bridge.domain.ledger.records import ATTEMPTING, IN_DOUBT, WAITING, changed
from bridge.domain.ledger.time import CLOCK, grace_until, is_of_another_time
from bridge.domain.ledger.unit_of_work import ReadSet, SubmissionId
from bridge.domain.match_keys import match_key
from bridge.domain.outcomes import Outcome, Style, SubmissionResult
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
    from bridge.domain.evidence import Reading
    from bridge.domain.ledger.records import CommandRecord, SubmissionRecord
    from bridge.domain.ledger.unit_of_work import UnitOfWork
    from bridge.domain.rules import ReceiptRules

#: What a finding is called in what is filed.
_LOOKUP_RESULTS: dict[type[LookupResult], Literal["found", "not_found", "undetermined", "again"]] = {
    Found: "found",
    NotInHistory: "not_found",
    Undetermined: "undetermined",
    RetryLookup: "again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolve:
    """File what a look brought. Gives back None where the owner had lost its claim."""

    command: SendSms
    command_id: str
    index: int
    owner: str
    #: None where the history was not to be had.
    reading: Reading | None
    now: float
    style: Style
    #: Nothing of its own is older: see `Lookup`.
    since: float = 0.0
    rules: LedgerRules = field(default_factory=LedgerRules)
    traceparent: str | None = None

    @property
    def read_set(self) -> ReadSet:
        """Its record, all that could be mistaken for it, and who owns what was found."""
        messages = () if self.reading is None else self.reading.messages
        return ReadSet(
            command_id=self.command_id,
            index=self.index,
            match_key=self._key,
            judges=self._key,
            since=self.since,
            message_ids=tuple(message.message_id for message in messages),
            buckets=(CLOCK,),
        )

    @property
    def receipts(self) -> ReceiptRules | None:
        """When receipts are asked for; None where nobody does."""
        return self.rules.receipts

    @property
    def _key(self) -> bytes:
        return match_key(self.command.destinations[self.index].wire, self.command.message)

    def apply(self, unit: UnitOfWork) -> RecordedResult | None:
        """Decide and file, unless the claim was lost."""
        record = unit.commands.get(self.command_id)
        submission = None if record is None else record.submissions.get(self.index)
        if record is None or submission is None:
            put_back(unit, self, since=self.now - self.rules.retry.max_age)
            return None
        if submission.state != IN_DOUBT or submission.owner != self.owner:
            return None
        submission = self._in_our_time(submission)
        lookup_result = self._judge(unit, submission)
        recorded = self._file(unit, record, submission, lookup_result)
        return replace(recorded, lookup_result=_LOOKUP_RESULTS[type(lookup_result)])

    def _in_our_time(self, submission: SubmissionRecord) -> SubmissionRecord:
        """Return it in doubt until now where the clock was set back since its last attempt, of which nobody knows when.

        Not before there is a history: until then it may be now that is wrong (`bridge.adapters.cpaas.transport`).
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
            # How long the provider had to show it can't be told: the clock was set.
            return RetryLookup(at=grace_end)
        return lookup_result

    def _judge_key(self, key: bytes, lookup_result: LookupResult) -> LookupResult:
        """Return what a finding means for a submission that was recorded under another key than it has now."""
        if len(key) == len(self._key):
            # It may have gone to what its number was read as then, and that is not known any more.
            return Undetermined(
                reason="its number is read otherwise than at its attempt: addresses.default_region"
            )
        if isinstance(lookup_result, NotInHistory):
            # Until layout 0006 keys were shorter. Others could not see it, and may have taken its message for theirs.
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
        """Whether a call may be under way; one that nobody takes over for so long is of a command that is gone."""
        lost_at = (other.lease_until or self.now) + self.rules.retry.max_age
        return other.state == ATTEMPTING and self.now < lost_at

    def _file(
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
        """Return it without an outcome: it waits for another look, or for another call."""
        if isinstance(lookup_result, RetryLookup):
            looked_at = (
                self.reading.read_at
                if self.reading and lookup_result.recognises_none
                else submission.looked_at
            )
            return submission.released(IN_DOUBT, retry_at=lookup_result.at, looked_at=looked_at)
        # Absent, the history reaches back before its first attempt in doubt: none of them is undecided any more.
        return submission.released(
            WAITING, retry_at=self.now, earlier_in_doubt=isinstance(lookup_result, Undetermined)
        )

    def _ended(
        self, submission: SubmissionRecord, lookup_result: LookupResult
    ) -> tuple[Outcome, SubmissionResult] | None:
        """Return how it ends; None where it goes on."""
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
                return self._absent(submission)
            case Undetermined(reason=reason):
                return self._undetermined(submission, reason)
        assert_never(lookup_result)

    def _absent(self, submission: SubmissionRecord) -> tuple[Outcome, SubmissionResult] | None:
        if submission.was_taken:
            # The provider said that it has it, so it was sent, whatever its history shows.
            return Outcome.SENT, submission.result()
        if not (submission.is_suspected or may_resend(submission, self.rules.reconcile.on_absent)):
            why = "no trace of it in the provider's history; it is not sent again by itself"
            return Outcome.UNKNOWN, submission.result(ProviderError(name="ambiguous", message=why))
        late = too_late(self.command, now=self.now)
        if late is not None:
            outcome, error = late
            return outcome, submission.result(error)
        attempted_at = submission.doubt_until or self.now
        if attempted_at >= (submission.first_attempt_at or self.now) + self.rules.retry.max_age:
            why = "given up: its last attempt left no trace in the provider's history"
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
