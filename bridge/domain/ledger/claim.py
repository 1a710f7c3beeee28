"""Claiming a submission: for a call, for a look at the provider's history, or learning why there is nothing to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.domain.answers import ProviderError
from bridge.domain.events import outcome_id
from bridge.domain.ledger import lost_rows
from bridge.domain.ledger.endings import as_unknown, end, may_resend_unknown, too_late
from bridge.domain.ledger.limits import ACCOUNT, Reservation, reserve
from bridge.domain.ledger.records import (
    ATTEMPTING,
    IN_DOUBT,
    WAITING,
    CommandRecord,
    Replay,
    StoredEvent,
    SubmissionRecord,
    changed,
)
from bridge.domain.ledger.time import CLOCK, due_at, grace_until, is_of_another_time, renewed_lease
from bridge.domain.ledger.unit_of_work import ReadSet
from bridge.domain.ledger.verdicts import Call, Conflict, HasOutcome, Lookup, NotBefore, Superseded, Verdict
from bridge.domain.match_keys import match_key
from bridge.domain.outcomes import Outcome
from bridge.domain.reconciliation import window_of
from bridge.domain.rules import LedgerRules, ReceiptRules

if TYPE_CHECKING:
    from bridge.domain.commands import SendSms
    from bridge.domain.ledger.unit_of_work import Bucket, UnitOfWork
    from bridge.domain.outcomes import Style

#: Seconds a waiting submission's copy may be late before another delivery of the command takes its place. A copy comes
#: at most 2 s late (SPEC section 3); behind a long queue more, and then being early costs a look, never a second call.
OVERDUE = 10.0
#: Seconds until a delivery that met somebody else's live claim looks again.
POLL_AGAIN = 2.0
#: Seconds that a submission waits for its rate limit in the worker; what takes longer goes to the delay.
SHORT_WAIT = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Claim one submission, or learn why there is nothing to do for it now."""

    command: SendSms
    index: int
    #: Names this claim and no other: a zombie of the same process must not pass for it.
    owner: str
    now: float
    style: Style
    rules: LedgerRules = field(default_factory=LedgerRules)
    #: The version the delivery speaks for: that of its copy, or a new one where it has taken another copy's place.
    version: int = 0
    #: The version that its copy was made with; 0 for none. Outcomes filed before that copy was made were told.
    copy_version: int = 0
    #: Whether it comes from the delay: then it had a row when it was made.
    delayed: bool = False
    #: Whether the broker delivered it before.
    redelivered: bool = False
    #: When its publisher says that it published it (AMQP's `timestamp`); None where that is not known.
    published_at: float | None = None
    replay: Replay | None = None
    traceparent: str | None = None

    @property
    def command_id(self) -> str:
        """Whose record it changes."""
        assert self.command.id is not None  # noqa: S101 - commands without an id never reach the ledger
        return self.command.id

    @property
    def receipts(self) -> ReceiptRules | None:
        """When receipts are asked for; None where nobody does."""
        return self.rules.receipts

    @property
    def limits(self) -> dict[str, float]:
        """The rate limits that it is under, by name, the sender's first: submissions a second, 0 for any number."""
        rules, sender = self.rules.limits, f"sender:{self.command.sender.wire}"
        return {sender: rules.sender_per_second, ACCOUNT: rules.account_per_second}

    @property
    def read_set(self) -> ReadSet:
        """Its record, and the limits it may have to wait for: without a limit it takes no slot of it."""
        limits = self.limits
        return ReadSet(
            command_id=self.command_id,
            index=self.index,
            buckets=(*limits, CLOCK),
            locked_buckets=tuple([name for name, per_second in limits.items() if per_second]),
        )

    def apply(self, unit: UnitOfWork) -> Verdict:
        """Decide; see the table at the head of the package."""
        record = unit.commands.get(self.command_id) or CommandRecord(
            id=self.command_id,
            content_hash=self.command.content_hash,
            created_at=self.now,
            updated_at=self.now,
            version=self.version,
        )
        if record.content_hash != self.command.content_hash:
            return Conflict()
        return _Decision(self, unit, record).decide()


class _Decision:
    """What becomes of one claim, by what its command's record says."""

    def __init__(self, claim: Claim, unit: UnitOfWork, record: CommandRecord) -> None:
        self._claim = claim
        self._unit = unit
        self._record = record
        self._now, self._until = claim.now, claim.now + claim.rules.lease

    def decide(self) -> Verdict:
        submission = self._record.submissions.get(self._claim.index)
        if submission is None:
            return self._begin()
        is_older = lost_rows.may_be_older(self._claim, self._record, submission, self._unit.restored)
        is_current = lost_rows.is_current_copy(self._claim, self._record, self._unit.restored)
        if is_older:
            self._catch_up()
        replay, event = self._claim.replay, submission.stored_event
        if replay is not None and event is not None and event.event_id == replay.event_id:
            # This delivery is the dead letter of its outcome.
            anew = submission.reopened(replay, now=self._now)
            if anew is not None:
                return self._begin_anew(anew, is_older=is_older)
        if event is not None and submission.outcome is not None:
            return self._publish_again(submission, submission.outcome, event)
        return self._go_on(submission, is_older=is_older, is_current=is_current)

    def _catch_up(self) -> None:
        """Give a record that is older than this delivery the delivery's version."""
        self._record = changed(self._record, version=max(self._record.version, self._claim.version))

    def _begin_anew(self, submission: SubmissionRecord, *, is_older: bool) -> Verdict:
        """Begin a new life of a submission whose dead letter was sent back."""
        self._record = changed(self._record, version=self._record.version + 1)
        if is_older:
            submission = lost_rows.in_doubt(self._claim, submission, self._unit.restored)
        return self._look_up(submission) if submission.state == IN_DOUBT else self._go(submission)

    def _go_on(self, submission: SubmissionRecord, *, is_older: bool, is_current: bool) -> Verdict:
        """Go on with what has no outcome yet, unless somebody has it."""
        lease_until = submission.lease_until
        if lease_until is not None:
            if submission.owner == self._claim.owner:
                # The commit went through and said that it had not: this claim is ours.
                return (self._call_of if submission.state == ATTEMPTING else self._lookup_of)(submission)
            held = self._held(submission, lease_until)
            if held is not None:
                return held
        if is_older:
            in_doubt = lost_rows.in_doubt(self._claim, submission, self._unit.restored, is_current=is_current)
            return self._look_up(in_doubt)
        return self._resume(submission) if lease_until is None else self._crashed(submission)

    def _held(self, submission: SubmissionRecord, lease_until: float) -> NotBefore | None:
        """Return until when another may have it; None where its lease is over."""
        if is_of_another_time(submission.claimed_at or 0.0, self._now):
            renewed = renewed_lease(submission, self._now, self._claim.rules)
            self._put(renewed)
            return NotBefore(at=min(renewed.lease_until or self._now, self._now + POLL_AGAIN), own=False)
        grace_end = grace_until(self._unit, self._now, self._claim.rules)
        if grace_end is not None:
            # Whether the lease is over can't be told: the clock was set.
            return NotBefore(at=grace_end, own=False)
        if self._now < lease_until:
            return NotBefore(at=min(lease_until, self._now + POLL_AGAIN), own=False)
        return None

    def _begin(self) -> Verdict:
        claim, restored = self._claim, self._unit.restored
        key = match_key(claim.command.destinations[claim.index].wire, claim.command.message)
        fresh = SubmissionRecord(index=claim.index, state=WAITING, match_key=key)
        if claim.delayed or claim.version or claim.replay is not None:
            # It had a row: each copy from the delay had one when it was made, and each dead letter an outcome.
            self._catch_up()
            return self._look_up(lost_rows.forgotten(claim, fresh, restored))
        send_at = claim.command.send_at
        if send_at is not None and send_at > self._now:
            # Nothing is lost that was called for it: no call is made before its time.
            self._put(changed(fresh, retry_at=send_at))
            return self._wait(send_at)
        if restored is not None and lost_rows.may_be_lost(claim, restored):
            return self._look_up(lost_rows.lost(claim, fresh, restored))
        return self._go(fresh)

    def _publish_again(self, submission: SubmissionRecord, outcome: Outcome, event: StoredEvent) -> Verdict:
        """Have this delivery publish the outcome, unless its copy was made after that: see `IncludeInCopy`."""
        if submission.recorded_in is not None and submission.recorded_in < self._claim.copy_version:
            return Superseded()
        claim, replay = self._claim, self._claim.replay
        before = outcome_id(claim.command_id, claim.index, submission.replay - 1)
        is_own = replay is not None and replay.event_id == before
        return HasOutcome(outcome=outcome, stored_event=event, own=is_own)

    def _crashed(self, submission: SubmissionRecord) -> Verdict:
        """Take over from a worker that ended: what it was calling is in doubt, what it was looking at still is."""
        submission = submission.crashed()
        if submission.crashes >= self._claim.rules.poison_after:
            if submission.was_taken:
                return self._end(submission, Outcome.SENT)
            why = f"the worker ended {submission.crashes} times while it had this submission: it is not tried again"
            return self._end(submission, Outcome.UNKNOWN, ProviderError(name="poison", message=why))
        return self._look_up(submission)

    def _resume(self, submission: SubmissionRecord) -> Verdict:
        claim = self._claim
        retry_at = due_at(submission, claim.command.send_at or 0.0, self._now, claim.rules)
        current = claim.version == self._record.version
        due = retry_at if current else retry_at + OVERDUE
        if self._now < due:
            if not current:
                return NotBefore(at=due, own=False)
            return self._wait(due, limited=submission.reserved > 0)
        if not current:
            # The copy it waits for never came. This delivery takes its place, and the copy is superseded if it does.
            self._record = changed(self._record, version=self._record.version + 1)
        return self._look_up(submission) if submission.state == IN_DOUBT else self._go(submission)

    def _go(self, submission: SubmissionRecord) -> Verdict:
        """Claim it for a call, unless it is too late or too soon, or a late answer has shown that it was sent."""
        if submission.message_id is not None:
            return self._look_up(changed(submission, submitted=True))
        claim, limits, call = self._claim, self._claim.limits, self._call_of(submission)
        late = too_late(claim.command, now=self._now)
        if late is not None:
            return self._end(submission, *late)
        held = Reservation(submission.retry_at or 0.0, submission.reserved, submission.queued)
        before = None if claim.command.expires_at is None else self._unit.buckets.copy()
        given = reserve(self._unit, limits, now=self._now, held=held)
        if given.at > self._now:
            return self._wait_for(given, submission, before)
        leased = submission.leased(ATTEMPTING, owner=claim.owner, now=self._now, until=self._until)
        self._unit.commands[self._record.id] = self._record.having(leased, now=self._now)
        return call

    def _wait_for(
        self, given: Reservation, submission: SubmissionRecord, before: dict[str, Bucket] | None
    ) -> NotBefore:
        """Have it wait for its reservation; `before` are the rate limits without it, if it may expire."""
        expires_at = self._claim.command.expires_at
        if before is not None and expires_at is not None and given.at >= expires_at:
            # Its turn would come too late: it takes nobody's, and whoever waits for it learns when it expires.
            self._unit.buckets = before
            self._put(changed(submission, state=WAITING, retry_at=expires_at))
            return self._wait(expires_at, limited=True)
        reserved, queued = given.reserved, given.queued
        self._put(changed(submission, state=WAITING, retry_at=given.at, reserved=reserved, queued=queued))
        return self._wait(given.at, limited=True)

    def _look_up(self, submission: SubmissionRecord) -> Verdict:
        """Claim it for a look, unless no look can ever tell."""
        claim = self._claim
        if not claim.command.is_reconcilable(claim.index):
            if submission.was_taken:
                return self._end(submission, Outcome.SENT)
            if submission.is_suspected:
                return self._go(changed(submission, state=WAITING))
            if may_resend_unknown(submission, claim.command, claim.rules, now=self._now):
                return self._go(changed(submission, state=WAITING, earlier_in_doubt=True))
            error = ProviderError(name="ambiguous", message="a national number can't be found in the history")
            return self._end(submission, Outcome.UNKNOWN, error)
        self._put(submission.leased(IN_DOUBT, owner=claim.owner, now=self._now, until=self._until))
        return self._lookup_of(self._record.submissions[claim.index])

    def _wait(self, at: float, *, limited: bool = False) -> NotBefore:
        return NotBefore(at=at, own=True, limited=limited, version=self._record.version)

    def _call_of(self, submission: SubmissionRecord) -> Call:
        first = submission.first_attempt_at or self._now
        return Call(attempts=submission.attempts, first_attempt_at=first, version=self._record.version)

    def _lookup_of(self, submission: SubmissionRecord) -> Lookup:
        rules = self._claim.rules.reconcile
        since, until = submission.doubt_from or self._now, submission.doubt_until or self._now
        window = window_of(since, until, rules)
        bounded = window if rules.history_cap and not submission.is_suspected else None
        return Lookup(version=self._record.version, window=bounded, since=window.start)

    def _end(
        self, submission: SubmissionRecord, outcome: Outcome, error: ProviderError | None = None
    ) -> HasOutcome:
        claim = self._claim
        if submission.earlier_in_doubt:
            outcome, error = as_unknown(outcome, error)
        event = end(self._unit, claim, self._record, submission, outcome, submission.result(error))
        return HasOutcome(outcome=outcome, stored_event=event, fresh=True)

    def _put(self, submission: SubmissionRecord) -> None:
        self._record = self._record.having(submission, now=self._now)
        self._unit.commands[self._record.id] = self._record
