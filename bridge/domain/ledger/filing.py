"""Filing what became of a claimed submission."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from bridge.domain.answers import ProviderError
from bridge.domain.ledger.limits import ACCOUNT, hold_back
from bridge.domain.ledger.records import (
    ATTEMPTING,
    DOUBTFUL,
    WAITING,
    CommandRecord,
    SubmissionRecord,
    Told,
    changed,
)
from bridge.domain.ledger.unit_of_work import Expected, Needs, Place
from bridge.domain.match_keys import match_key, match_key_of
from bridge.domain.outcomes import Outcome, Style, SubmissionResult, outcome_event

if TYPE_CHECKING:
    from bridge.domain.commands import SendSms
    from bridge.domain.events import Event
    from bridge.domain.evidence import Evidence
    from bridge.domain.ledger.unit_of_work import UnitOfWork
    from bridge.domain.rules import LedgerRules, ReceiptRules

#: RabbitMQ's reason for a message whose time ran out.
EXPIRED_BY_BROKER = "expired"
#: Seconds; no call began longer ago than this before its answer is filed.
LONGEST_CALL = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """An outcome and all that its event is made from."""

    command: SendSms
    outcome: Outcome
    result: SubmissionResult
    style: Style
    now: float
    traceparent: str | None = None


def unknown_command(command: SendSms, command_id: str, *, now: float) -> CommandRecord:
    """Return the record of a command that the ledger has lost."""
    return CommandRecord(id=command_id, content_hash=command.content_hash, created_at=now, updated_at=now)


def key_of(command: SendSms, index: int) -> bytes:
    """Return the match key of one of a command's submissions."""
    return match_key(command.destinations[index].wire, command.message)


def doubt_from_any_call(submission: SubmissionRecord, now: float, rules: LedgerRules) -> float:
    """Return when the doubt began of a submission for which calls were made that nobody can date."""
    since = now - rules.retry.max_age
    return min(submission.doubt_from or since, since)


def forgotten(command: SendSms, index: int, *, now: float, since: float) -> SubmissionRecord:
    """Return a submission whose claim the ledger has lost, in doubt: whoever claims it next must not call at once.

    A database that fails over to a copy that lags behind loses what it has committed.
    """
    return SubmissionRecord(
        index=index,
        state=DOUBTFUL,
        match_key=key_of(command, index),
        first_attempt_at=now,
        doubt_from=since,
        doubt_until=now,
        retry_at=now,
    )


def end(submission: SubmissionRecord, ending: Ending, *, generation: int) -> tuple[SubmissionRecord, Told]:
    """Return `submission` ended, and the event that tells it."""
    event = outcome_event(
        ending.outcome,
        ending.command,
        submission.index,
        ending.result,
        style=ending.style,
        now=ending.now,
        traceparent=ending.traceparent,
    )
    told = Told(event_id=event.id, body=event.body)
    ended = submission.released(
        ending.outcome.value,
        retry_at=None,
        attempts=ending.result.attempts,
        # What a late answer has shown to be its own stays so: nobody else may take it for his.
        message_id=ending.result.message_id or submission.message_id,
        filed_in=generation,
        told=told,
    )
    return ended, told


def too_late(command: SendSms, *, now: float) -> tuple[Outcome, ProviderError] | None:
    """Return how a submission ends that must not be sent any more; None for one that may be."""
    if command.given_up == EXPIRED_BY_BROKER:
        why = "the broker's time for it ran out: its AMQP expiration, or a message-ttl policy on the queue"
        return Outcome.EXPIRED, ProviderError(name="expired", message=why)
    if command.given_up is not None:
        why = f"the broker gave it up before it was sent: {command.given_up}"
        return Outcome.FAILED, ProviderError(name=command.given_up, message=why)
    if command.expires_at is not None and now >= command.expires_at:
        why = "expires_at passed before it could be submitted"
        return Outcome.EXPIRED, ProviderError(name="expired", message=why)
    return None


def may_resend(submission: SubmissionRecord, rule: str) -> bool:
    """Return whether to send it anew: as configured, but for a replay's first look as who sent it back decided."""
    return submission.resend_asked or (submission.may_resend and rule == "resend")


def may_resend_unknown(
    submission: SubmissionRecord, command: SendSms, rules: LedgerRules, *, now: float
) -> bool:
    """Return whether to send anew what nobody can tell; never beyond its time, since it may have been sent in time."""
    if too_late(command, now=now) is not None:
        return False
    attempted_at = submission.doubt_until or now
    is_over = attempted_at >= (submission.first_attempt_at or now) + rules.retry.max_age
    return submission.resend_asked or (not is_over and may_resend(submission, rules.reconcile.on_unknown))


def as_undecided(outcome: Outcome, error: ProviderError | None) -> tuple[Outcome, ProviderError | None]:
    """Return what an end means for a submission of which an earlier attempt is undecided: not that it was not sent."""
    if outcome not in {Outcome.REJECTED, Outcome.FAILED, Outcome.EXPIRED}:
        return outcome, error
    last = "" if error is None or error.message is None else f": {error.message}"
    why = f"an earlier attempt may have been sent; the last one ended as {outcome.value}{last}"
    return Outcome.UNKNOWN, replace(error or ProviderError(name="ambiguous"), name="ambiguous", message=why)


def expect_receipt(
    unit: UnitOfWork, command_id: str, ended: SubmissionRecord, rules: ReceiptRules | None, *, now: float
) -> None:
    """Await the receipt of a submission that ended, if it was sent and somebody asks for receipts.

    In the step that files it, so that no crash loses one.
    """
    if rules is not None and ended.state == Outcome.SENT.value and ended.message_id is not None:
        place = Place(command_id=command_id, index=ended.index)
        unit.expected[place] = Expected(sent_at=now, ask_at=now + rules.first)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filing:
    """What an answer makes of a claimed submission: an outcome, or another look or call at `retry_at`."""

    outcome: Outcome | None
    result: SubmissionResult
    retry_at: float | None = None
    #: Whether it is in doubt now whether it was sent.
    doubtful: bool = False
    #: Whether the provider said that it has it.
    submitted: bool = False
    #: The event that tells the delay.
    deferred: Event | None = None
    #: Until when the provider wants to hear nothing from the whole account, in seconds since the epoch.
    hold_until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filed:
    """It is filed: an outcome to tell, or a time to go on."""

    outcome: Outcome | None = None
    told: Told | None = None
    retry_at: float | None = None
    deferred: Event | None = None
    #: What looking came to, where that is what was filed.
    finding: Literal["found", "absent", "cannot_tell", "again"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """File what became of a call. Gives back None where the owner had lost its claim."""

    command: SendSms
    command_id: str
    index: int
    owner: str
    filing: Filing
    now: float
    style: Style
    #: What the answer proves, for whoever has taken over meanwhile.
    evidence: Evidence | None = None
    #: None where nobody asks for receipts.
    receipts: ReceiptRules | None = None
    traceparent: str | None = None

    @property
    def needs(self) -> Needs:
        """Its record, the account's limit if the provider wants us slower, and who owns what the answer proves."""
        buckets = () if self.filing.hold_until is None else (ACCOUNT,)
        return Needs(
            command_id=self.command_id,
            index=self.index,
            # A twin that is judged meanwhile must not find the message that a late answer shows to be this one's.
            guards=None if self.evidence is None else match_key_of(self.evidence),
            message_ids=() if self.evidence is None else (self.evidence.message_id,),
            buckets=buckets,
            reserves=buckets,
        )

    def apply(self, unit: UnitOfWork) -> Filed | None:
        """File it, unless the claim was lost."""
        if self.filing.hold_until is not None:
            hold_back(unit, self.filing.hold_until)
        record = unit.commands.get(self.command_id)
        submission = None if record is None else record.submissions.get(self.index)
        if (
            record is None
            or submission is None
            or submission.state != ATTEMPTING
            or submission.owner != self.owner
        ):
            if record is None or submission is None:
                doubt = forgotten(self.command, self.index, now=self.now, since=self.now - LONGEST_CALL)
                record = record or unknown_command(self.command, self.command_id, now=self.now)
                submission = doubt
                unit.commands[record.id] = record = record.having(doubt, now=self.now)
            self._keep_evidence(unit, record, submission)
            return None
        after, filed = self._filed(submission, record.generation)
        unit.commands[record.id] = record.having(after, now=self.now)
        expect_receipt(unit, record.id, after, self.receipts, now=self.now)
        return filed

    def _keep_evidence(self, unit: UnitOfWork, record: CommandRecord, submission: SubmissionRecord) -> None:
        """Keep what a late answer proves: the message is this submission's, whatever became of it meanwhile."""
        evidence = self.evidence
        if evidence is None or submission.match_key is None:
            return
        unit.seen.append((submission.match_key, evidence))
        if submission.message_id is None and unit.owner_of(evidence.message_id) is None:
            owning = changed(submission, message_id=evidence.message_id)
            unit.commands[record.id] = record.having(owning, now=self.now)

    def _filed(self, submission: SubmissionRecord, generation: int) -> tuple[SubmissionRecord, Filed]:
        filing = self.filing
        result = filing.result
        if submission.replay:
            result = replace(result, replay=submission.replay)
        if filing.outcome is not None:
            outcome = filing.outcome
            if submission.undecided:
                outcome, error = as_undecided(outcome, result.error)
                result = replace(result, error=error)
            ending = Ending(
                command=self.command,
                outcome=outcome,
                result=result,
                style=self.style,
                now=self.now,
                traceparent=self.traceparent,
            )
            # Not the owner's generation: a copy handed over since must tell it too, should the owner end here.
            ended, told = end(submission, ending, generation=generation)
            return ended, Filed(outcome=outcome, told=told)
        open_ = submission.released(
            DOUBTFUL if filing.doubtful else WAITING,
            retry_at=filing.retry_at,
            attempts=result.attempts,
            first_attempt_at=submission.first_attempt_at if result.attempts else None,
        )
        if filing.doubtful:
            open_ = changed(
                open_,
                # From its claim to its answer, whichever is the earlier where the clock was set meanwhile.
                doubt_from=min(
                    submission.doubt_from or self.now, submission.claimed_at or self.now, self.now
                ),
                doubt_until=max(submission.claimed_at or self.now, self.now),
                submitted=filing.submitted,
            )
        return open_, Filed(retry_at=filing.retry_at, deferred=filing.deferred)
