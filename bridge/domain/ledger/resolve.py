"""Deciding about a submission in doubt, from what a look at the provider's history brought."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, assert_never

from bridge.domain.answers import ProviderError
from bridge.domain.evidence import Doubt, Other
from bridge.domain.ledger.endings import Filed, end, may_resend, may_resend_unknown, too_late
from bridge.domain.ledger.lost_rows import doubt_from_any_call, put_back
from bridge.domain.ledger.records import ATTEMPTING, DOUBTFUL, WAITING, changed
from bridge.domain.ledger.time import CLOCK, is_of_another_time, quiet_until
from bridge.domain.ledger.unit_of_work import Needs, Place
from bridge.domain.match_keys import match_key
from bridge.domain.outcomes import Outcome, Style, SubmissionResult
from bridge.domain.reconciliation import (
    IMPOSSIBLE,
    Absent,
    CannotTell,
    Finding,
    Found,
    LookAgain,
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
_FINDINGS: dict[type[Finding], Literal["found", "absent", "cannot_tell", "again"]] = {
    Found: "found",
    Absent: "absent",
    CannotTell: "cannot_tell",
    LookAgain: "again",
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
    #: Nothing of its own is older: see `Look`.
    since: float = 0.0
    rules: LedgerRules = field(default_factory=LedgerRules)
    traceparent: str | None = None

    @property
    def needs(self) -> Needs:
        """Its record, all that could be mistaken for it, and who owns what was found."""
        messages = () if self.reading is None else self.reading.messages
        return Needs(
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

    def apply(self, unit: UnitOfWork) -> Filed | None:
        """Decide and file, unless the claim was lost."""
        record = unit.commands.get(self.command_id)
        submission = None if record is None else record.submissions.get(self.index)
        if record is None or submission is None:
            put_back(unit, self, since=self.now - self.rules.retry.max_age)
            return None
        if submission.state != DOUBTFUL or submission.owner != self.owner:
            return None
        submission = self._in_our_time(submission)
        finding = self._judge(unit, submission)
        filed = self._file(unit, record, submission, finding)
        return replace(filed, finding=_FINDINGS[type(finding)])

    def _in_our_time(self, submission: SubmissionRecord) -> SubmissionRecord:
        """Return it in doubt until now where the clock was set back since its last attempt, of which nobody knows when.

        Not before there is a history: until then it may be now that is wrong (`bridge.adapters.cpaas.transport`).
        """
        if self.reading is None or not is_of_another_time(submission.doubt_until or 0.0, self.now):
            return submission
        since = doubt_from_any_call(submission, self.now, self.rules)
        return changed(submission, doubt_from=since, doubt_until=self.now)

    def _judge(self, unit: UnitOfWork, submission: SubmissionRecord) -> Finding:
        place = Place(command_id=self.command_id, index=self.index)
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
        finding = judge_history(
            doubt,
            self.reading,
            unit.evidence_of_destination(self._key),
            is_taken=lambda message_id: unit.owner_of(message_id) not in (None, place),
            others=[self._other(other) for other in unit.others_of(self._key, place)],
            rules=self.rules.reconcile,
        )
        if submission.match_key not in (None, self._key):
            finding = self._judge_key(submission.match_key or b"", finding)
        quiet = quiet_until(unit, self.now, self.rules)
        if quiet is not None and not isinstance(finding, Found):
            # How long the provider had to show it can't be told: the clock was set.
            return LookAgain(at=quiet)
        return finding

    def _judge_key(self, key: bytes, finding: Finding) -> Finding:
        """Return what a finding means for a submission that was recorded under another key than it has now."""
        if len(key) == len(self._key):
            # It may have gone to what its number was read as then, and that is not known any more.
            return CannotTell(
                reason="its number is read otherwise than at its attempt: addresses.default_region"
            )
        if isinstance(finding, Absent):
            # Until layout 0006 keys were shorter. Others could not see it, and may have taken its message for theirs.
            return CannotTell(
                reason="its attempt was recorded by an older version, so its absence can't be proved"
            )
        return finding

    def _other(self, other: SubmissionRecord) -> Other:
        began_at, ended_at = other.claimed_at or self.now, other.doubt_until or other.claimed_at or self.now
        is_calling = self._is_calling(other)
        return Other(
            match_key=other.match_key or b"",
            since=min(other.doubt_from or ended_at, began_at) if is_calling else other.doubt_from or ended_at,
            until=math.inf if is_calling else ended_at,
            is_calling=is_calling,
            is_in_doubt=other.state == DOUBTFUL,
            looked_at=other.looked_at or 0.0,
            submitted=other.submitted or other.outcome is Outcome.SENT,
        )

    def _is_calling(self, other: SubmissionRecord) -> bool:
        """Whether a call may be under way; one that nobody takes over for so long is of a command that is gone."""
        lost_at = (other.lease_until or self.now) + self.rules.retry.max_age
        return other.state == ATTEMPTING and self.now < lost_at

    def _file(
        self, unit: UnitOfWork, record: CommandRecord, submission: SubmissionRecord, finding: Finding
    ) -> Filed:
        ended = self._ended(submission, finding)
        if ended is not None:
            outcome, result = ended
            told = end(unit, self, record, submission, outcome, result)
            return Filed(outcome=outcome, told=told)
        after = self._open(submission, finding)
        unit.commands[record.id] = record.having(after, now=self.now)
        return Filed(retry_at=after.retry_at)

    def _open(self, submission: SubmissionRecord, finding: Finding) -> SubmissionRecord:
        """Return it without an outcome: it waits for another look, or for another call."""
        if isinstance(finding, LookAgain):
            looked_at = (
                self.reading.read_at if self.reading and finding.recognises_none else submission.looked_at
            )
            return submission.released(DOUBTFUL, retry_at=finding.at, looked_at=looked_at)
        # Absent, the history reaches back before its first attempt in doubt: none of them is undecided any more.
        return submission.released(WAITING, retry_at=self.now, undecided=isinstance(finding, CannotTell))

    def _ended(
        self, submission: SubmissionRecord, finding: Finding
    ) -> tuple[Outcome, SubmissionResult] | None:
        """Return how it ends; None where it goes on."""
        match finding:
            case Found(message=message):
                result = replace(
                    submission.result(),
                    message_id=message.message_id,
                    sender_address=message.sender_address,
                    delivery_status=message.status,
                    reconciled=True,
                )
                return Outcome.UNDELIVERABLE if message.status == IMPOSSIBLE else Outcome.SENT, result
            case LookAgain():
                return None
            case Absent():
                return self._absent(submission)
            case CannotTell(reason=reason):
                return self._cannot_tell(submission, reason)
        assert_never(finding)

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

    def _cannot_tell(
        self, submission: SubmissionRecord, reason: str
    ) -> tuple[Outcome, SubmissionResult] | None:
        if submission.was_taken:
            return Outcome.SENT, submission.result()
        if may_resend_unknown(submission, self.command, self.rules, now=self.now):
            return None
        return Outcome.UNKNOWN, submission.result(ProviderError(name="ambiguous", message=reason))
