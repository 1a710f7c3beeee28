"""The claim of a submission: a lease for a call or a history lookup, or the reason why it is refused."""

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
    from bridge.domain.outcomes import EventFormat

#: Seconds by which the copy of a waiting submission may be late before another delivery of the command replaces it. A
#: copy comes at most 2 s late (SPEC section 3), or later behind a long queue. A replacement that is too early costs a
#: lookup, never a second call.
OVERDUE = 10.0
#: Seconds until a delivery tries again that has met a valid claim of another worker.
POLL_AGAIN = 2.0
#: Seconds. A submission that waits longer for its rate limit goes to the delay queues.
SHORT_WAIT = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Claim one submission; returns a verdict."""

    command: SendSms
    index: int
    #: The unique name of this claim: an earlier claim of the same process must not be taken for it.
    owner: str
    now: float
    style: EventFormat
    rules: LedgerRules = field(default_factory=LedgerRules)
    #: The version of the delivery: that of its copy, or a new one if it has replaced another copy.
    version: int = 0
    #: The version that its copy was made with; 0 for none. Outcomes recorded before that copy was made are published.
    copy_version: int = 0
    #: Whether the delivery is a delayed copy: then the submission had a row when the copy was made.
    delayed: bool = False
    #: Whether the broker has delivered it before.
    redelivered: bool = False
    #: The publisher's time of publication (AMQP's `timestamp`); None if unknown.
    published_at: float | None = None
    replay: Replay | None = None
    traceparent: str | None = None

    @property
    def command_id(self) -> str:
        """The command whose record is changed."""
        assert self.command.id is not None  # noqa: S101 - commands without an id never reach the ledger
        return self.command.id

    @property
    def receipts(self) -> ReceiptRules | None:
        """When the provider is polled for receipts; None if it is not."""
        return self.rules.receipts

    @property
    def limits(self) -> dict[str, float]:
        """Its rate limits by name, the sender's first, in submissions per second; 0 means no limit."""
        rules, sender = self.rules.limits, f"sender:{self.command.sender.wire}"
        return {sender: rules.sender_per_second, ACCOUNT: rules.account_per_second}

    @property
    def read_set(self) -> ReadSet:
        """The submission's record, and its rate limits; those without a rate are not locked."""
        limits = self.limits
        return ReadSet(
            command_id=self.command_id,
            index=self.index,
            buckets=(*limits, CLOCK),
            locked_buckets=tuple([name for name, per_second in limits.items() if per_second]),
        )

    def apply(self, unit: UnitOfWork) -> Verdict:
        """Decide by the submission's state: see the table of the package."""
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
    """The decision about one claim, by the record of its command."""

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
            # This delivery is the dead letter of that outcome.
            reopened = submission.reopened(replay, now=self._now)
            if reopened is not None:
                return self._begin_replay(reopened, is_older=is_older)
        if event is not None and submission.outcome is not None:
            return self._publish_again(submission, submission.outcome, event)
        return self._go_on(submission, is_older=is_older, is_current=is_current)

    def _catch_up(self) -> None:
        """Raise the version of a record that is older than this delivery."""
        self._record = changed(self._record, version=max(self._record.version, self._claim.version))

    def _begin_replay(self, submission: SubmissionRecord, *, is_older: bool) -> Verdict:
        """Begin the replay of a submission whose dead letter was sent back."""
        self._record = changed(self._record, version=self._record.version + 1)
        if is_older:
            submission = lost_rows.in_doubt(self._claim, submission, self._unit.restored)
        return self._look_up(submission) if submission.state == IN_DOUBT else self._go(submission)

    def _go_on(self, submission: SubmissionRecord, *, is_older: bool, is_current: bool) -> Verdict:
        """Continue with a submission that has no outcome yet, unless another worker has claimed it."""
        lease_until = submission.lease_until
        if lease_until is not None:
            if submission.owner == self._claim.owner:
                # An earlier try of this commit succeeded, though the database reported an error.
                return (self._call_of if submission.state == ATTEMPTING else self._lookup_of)(submission)
            held = self._held(submission, lease_until)
            if held is not None:
                return held
        if is_older:
            in_doubt = lost_rows.in_doubt(self._claim, submission, self._unit.restored, is_current=is_current)
            return self._look_up(in_doubt)
        return self._resume(submission) if lease_until is None else self._crashed(submission)

    def _held(self, submission: SubmissionRecord, lease_until: float) -> NotBefore | None:
        """Return until when another worker may hold the claim; None if its lease is over."""
        if is_of_another_time(submission.claimed_at or 0.0, self._now):
            renewed = renewed_lease(submission, self._now, self._claim.rules)
            self._put(renewed)
            return NotBefore(at=min(renewed.lease_until or self._now, self._now + POLL_AGAIN), own=False)
        grace_end = grace_until(self._unit, self._now, self._claim.rules)
        if grace_end is not None:
            # After a clock step it is unknown whether the lease is over.
            return NotBefore(at=grace_end, own=False)
        if self._now < lease_until:
            return NotBefore(at=min(lease_until, self._now + POLL_AGAIN), own=False)
        return None

    def _begin(self) -> Verdict:
        claim, restored = self._claim, self._unit.restored
        key = match_key(claim.command.destinations[claim.index].wire, claim.command.message)
        fresh = SubmissionRecord(index=claim.index, state=WAITING, match_key=key)
        if claim.delayed or claim.version or claim.replay is not None:
            # The row was lost: each delayed copy had one when it was made, and each dead letter had an outcome.
            self._catch_up()
            return self._look_up(lost_rows.forgotten(claim, fresh, restored))
        send_at = claim.command.send_at
        if send_at is not None and send_at > self._now:
            # The ledger can't have lost a call: none is made before `send_at`.
            self._put(changed(fresh, retry_at=send_at))
            return self._wait(send_at)
        if restored is not None and lost_rows.may_be_lost(claim, restored):
            return self._look_up(lost_rows.lost(claim, fresh, restored))
        return self._go(fresh)

    def _publish_again(self, submission: SubmissionRecord, outcome: Outcome, event: StoredEvent) -> Verdict:
        """Let this delivery publish the outcome, unless its copy was made afterwards: see `IncludeInCopy`."""
        if submission.recorded_in is not None and submission.recorded_in < self._claim.copy_version:
            return Superseded()
        claim, replay = self._claim, self._claim.replay
        before = outcome_id(claim.command_id, claim.index, submission.replay - 1)
        is_own = replay is not None and replay.event_id == before
        return HasOutcome(outcome=outcome, stored_event=event, own=is_own)

    def _crashed(self, submission: SubmissionRecord) -> Verdict:
        """Take over from a worker that crashed during a call or a lookup: the submission is in doubt."""
        submission = submission.crashed()
        if submission.crashes >= self._claim.rules.poison_after:
            if submission.was_taken:
                return self._end(submission, Outcome.SENT)
            why = f"the worker crashed {submission.crashes} times while it had this submission: it is not tried again"
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
            # The copy that it waits for never came. This delivery replaces it; if the copy comes later, it is stale.
            self._record = changed(self._record, version=self._record.version + 1)
        return self._look_up(submission) if submission.state == IN_DOUBT else self._go(submission)

    def _go(self, submission: SubmissionRecord) -> Verdict:
        """Claim it for a call, unless it has expired, has to wait, or a late answer has shown that it was sent."""
        if submission.message_id is not None:
            return self._look_up(changed(submission, submitted=True))
        claim, limits, call = self._claim, self._claim.limits, self._call_of(submission)
        late = too_late(claim.command, now=self._now)
        if late is not None:
            return self._end(submission, *late)
        held = Reservation(submission.retry_at or 0.0, submission.reserved, submission.queued)
        before = None if claim.command.expires_at is None else self._unit.buckets.copy()
        reservation = reserve(self._unit, limits, now=self._now, held=held)
        if reservation.at > self._now:
            return self._wait_for(reservation, submission, before)
        leased = submission.leased(ATTEMPTING, owner=claim.owner, now=self._now, until=self._until)
        self._unit.commands[self._record.id] = self._record.having(leased, now=self._now)
        return call

    def _wait_for(
        self, reservation: Reservation, submission: SubmissionRecord, before: dict[str, Bucket] | None
    ) -> NotBefore:
        """Wait for the reservation; `before` are the rate limits without it, if the command can expire."""
        expires_at = self._claim.command.expires_at
        if before is not None and expires_at is not None and reservation.at >= expires_at:
            # It will expire first: it keeps no capacity, and its outcome is published at `expires_at`.
            self._unit.buckets = before
            self._put(changed(submission, state=WAITING, retry_at=expires_at))
            return self._wait(expires_at, limited=True)
        at, reserved, queued = reservation.at, reservation.reserved, reservation.queued
        self._put(changed(submission, state=WAITING, retry_at=at, reserved=reserved, queued=queued))
        return self._wait(at, limited=True)

    def _look_up(self, submission: SubmissionRecord) -> Verdict:
        """Claim it for a history lookup, unless the history can't answer for its number."""
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
