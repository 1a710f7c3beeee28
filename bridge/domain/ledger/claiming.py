"""How a claim is decided, of one submission and what its command's record says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.domain.answers import ProviderError
from bridge.domain.events import outcome_id
from bridge.domain.ledger.filing import (
    Ending,
    as_undecided,
    doubt_from_any_call,
    end,
    expect_receipt,
    key_of,
    may_resend_unknown,
    too_late,
)
from bridge.domain.ledger.forgotten import (
    forgotten,
    had_a_row,
    in_doubt,
    is_current_copy,
    lost,
    may_be_lost,
    may_be_older,
)
from bridge.domain.ledger.limits import Slot, reserve
from bridge.domain.ledger.records import (
    ATTEMPTING,
    DOUBTFUL,
    WAITING,
    CommandRecord,
    SubmissionRecord,
    Told,
    changed,
)
from bridge.domain.ledger.reopening import reopened
from bridge.domain.ledger.time import (
    is_of_another_time,
    is_retry_of_another_time,
    quiet_until,
)
from bridge.domain.ledger.verdicts import Call, Later, Look, Superseded, Tell, Verdict
from bridge.domain.outcomes import Outcome, SubmissionResult
from bridge.domain.reconciliation import window_of

if TYPE_CHECKING:
    from bridge.domain.ledger.claim import Claim
    from bridge.domain.ledger.unit_of_work import UnitOfWork

#: Seconds a waiting submission's copy may be late before another delivery of the command takes its place. A copy comes
#: at most 2 s late (SPEC section 3); behind a long queue more, and then being early costs a look, never a second call.
OVERDUE = 10.0
#: Seconds until a delivery that met somebody else's live claim looks again.
LOOK_AGAIN = 2.0
#: Seconds that a submission waits for its rate limit in the worker; what takes longer goes to the delay.
SHORT_WAIT = 2.0


class Claiming:
    """One claim at one record."""

    def __init__(self, claim: Claim, unit: UnitOfWork, record: CommandRecord) -> None:
        self._claim = claim
        self._unit = unit
        self._restored = unit.restored
        self._record = record
        self._now = claim.now

    def decide(self) -> Verdict:
        submission = self._record.submissions.get(self._claim.index)
        if submission is None:
            return self._begin()
        is_older = may_be_older(self._claim, self._record, submission, self._restored)
        is_current = is_current_copy(self._claim, self._record, self._restored)
        if is_older:
            self._catch_up()
        anew = self._reopened(submission)
        if anew is not None:
            self._record = changed(self._record, generation=self._record.generation + 1)
            anew = in_doubt(self._claim, anew, self._restored) if is_older else anew
            return self._look(anew) if anew.state == DOUBTFUL else self._go(anew)
        if submission.told is not None and submission.outcome is not None:
            return self._tell_again(submission, submission.outcome, submission.told)
        return self._go_on(submission, is_older=is_older, is_current=is_current)

    def _catch_up(self) -> None:
        """Give a record that is older than this delivery the delivery's generation."""
        generation = max(self._record.generation, self._claim.generation)
        self._record = changed(self._record, generation=generation)

    def _reopened(self, submission: SubmissionRecord) -> SubmissionRecord | None:
        """Return a new life of the submission where this delivery is the dead letter of its outcome."""
        replay, told = self._claim.replay, submission.told
        if replay is None or told is None or told.event_id != replay.event_id:
            return None
        return reopened(submission, replay, self._now)

    def _go_on(self, submission: SubmissionRecord, *, is_older: bool, is_current: bool) -> Verdict:
        """Go on with what has no outcome yet, unless somebody has it."""
        lease_until = submission.lease_until
        if lease_until is not None:
            if submission.owner == self._claim.owner:
                # The commit went through and said that it had not: this claim is ours.
                return (
                    self._call_of(submission) if submission.state == ATTEMPTING else self._look_of(submission)
                )
            held = self._held(submission, lease_until)
            if held is not None:
                return held
        if is_older:
            return self._look(in_doubt(self._claim, submission, self._restored, is_current=is_current))
        return self._resume(submission) if lease_until is None else self._crashed(submission, lease_until)

    def _held(self, submission: SubmissionRecord, lease_until: float) -> Later | None:
        """Return until when another may have it; None where its lease is over."""
        if is_of_another_time(submission.claimed_at or 0.0, self._now):
            return self._give_a_lease_of_our_time(submission)
        quiet = quiet_until(self._unit, self._now, self._claim.rules)
        if quiet is not None:
            # Whether the lease is over can't be told: the clock was set.
            return Later(at=quiet, own=False)
        if self._now < lease_until:
            return Later(at=min(lease_until, self._now + LOOK_AGAIN), own=False)
        return None

    def _give_a_lease_of_our_time(self, submission: SubmissionRecord) -> Later:
        """Have a claim end as if it began now: the clock was set back, and nobody knows when it did.

        Its owner notices nothing. Should it have ended, what it called is looked for as far back as calls may be.
        """
        until = self._now + self._claim.rules.lease
        since = doubt_from_any_call(submission, self._now, self._claim.rules)
        self._put(changed(submission, claimed_at=self._now, lease_until=until, doubt_from=since))
        return Later(at=min(until, self._now + LOOK_AGAIN), own=False)

    def _begin(self) -> Verdict:
        claim = self._claim
        fresh = SubmissionRecord(
            index=claim.index, state=WAITING, match_key=key_of(claim.command, claim.index)
        )
        if had_a_row(claim):
            self._catch_up()
            return self._look(forgotten(claim, fresh, self._restored))
        send_at = claim.command.send_at
        if send_at is not None and send_at > self._now:
            # Nothing is lost that was called for it: no call is made before its time.
            self._put(changed(fresh, retry_at=send_at))
            return self._wait(send_at)
        if self._restored is not None and may_be_lost(claim, self._restored):
            return self._look(lost(claim, fresh, self._restored))
        return self._go(fresh)

    def _tell_again(self, submission: SubmissionRecord, outcome: Outcome, told: Told) -> Verdict:
        """Tell what this delivery has not told yet: see `Carry` for what was filed before its copy was made."""
        if submission.filed_in is not None and submission.filed_in < self._claim.carried:
            return Superseded()
        claim, before = self._claim, submission.replay - 1
        own = claim.replay is not None and claim.replay.event_id == outcome_id(
            claim.command_id, claim.index, before
        )
        return Tell(outcome=outcome, told=told, own=own)

    def _crashed(self, submission: SubmissionRecord, lease_until: float) -> Verdict:
        """Take over from a worker that ended: what it was calling is in doubt, what it was looking at still is."""
        crashes = submission.crashes + 1
        submission = changed(submission, crashes=crashes)
        if submission.state == ATTEMPTING:
            submission = changed(
                submission,
                state=DOUBTFUL,
                attempts=submission.attempts + 1,
                doubt_from=submission.doubt_from or submission.claimed_at or lease_until,
                doubt_until=lease_until,
            )
        if crashes >= self._claim.rules.poison_after:
            if submission.was_taken:
                return self._end(submission, Outcome.SENT)
            why = f"the worker ended {crashes} times while it had this submission: it is not tried again"
            return self._end(submission, Outcome.UNKNOWN, ProviderError(name="poison", message=why))
        return self._look(submission)

    def _resume(self, submission: SubmissionRecord) -> Verdict:
        retry_at = self._due_at(submission)
        current = self._claim.generation == self._record.generation
        due = retry_at if current else retry_at + OVERDUE
        if self._now < due:
            return self._wait(due, limited=submission.granted > 0) if current else Later(at=due, own=False)
        if not current:
            # The copy it waits for never came. This delivery takes its place, and the copy is superseded if it does.
            self._record = changed(self._record, generation=self._record.generation + 1)
        return self._look(submission) if submission.state == DOUBTFUL else self._go(submission)

    def _due_at(self, submission: SubmissionRecord) -> float:
        """Return when another look is due: at once where the clock was set back since that was planned."""
        claim, retry_at = self._claim, submission.retry_at or 0.0
        if submission.granted or not is_retry_of_another_time(retry_at, self._now, claim.rules):
            # A slot of a rate limit may be as far away as many others have theirs before it.
            return retry_at
        return claim.command.send_at or 0.0

    def _go(self, submission: SubmissionRecord) -> Verdict:
        """Claim it for a call, unless it is too late or too soon, or a late answer has shown that it was sent."""
        claim = self._claim
        if submission.message_id is not None:
            return self._look(changed(submission, submitted=True))
        late = too_late(claim.command, now=self._now)
        if late is not None:
            return self._end(submission, *late)
        expires_at = claim.command.expires_at
        held = Slot(submission.retry_at or 0.0, submission.granted, submission.turn)
        sender = claim.command.sender.wire
        before = None if expires_at is None else self._unit.buckets.copy()
        slot = reserve(self._unit, sender, claim.rules.limits, now=self._now, held=held)
        if before is not None and expires_at is not None and slot.at >= expires_at:
            # Its turn would come too late: it takes nobody's, and whoever waits for it learns when it expires.
            self._unit.buckets = before
            self._put(changed(submission, state=WAITING, retry_at=expires_at))
            return self._wait(expires_at, limited=True)
        if slot.at > self._now:
            self._put(
                changed(submission, state=WAITING, retry_at=slot.at, granted=slot.granted, turn=slot.turn)
            )
            return self._wait(slot.at, limited=True)
        claimed = self._leased(submission, ATTEMPTING, granted=0, turn=False)
        return self._call_of(claimed)

    def _look(self, submission: SubmissionRecord) -> Verdict:
        """Claim it for a look, unless no look can ever tell."""
        claim = self._claim
        if not claim.command.is_reconcilable(claim.index):
            if submission.was_taken:
                return self._end(submission, Outcome.SENT)
            if submission.is_suspected:
                return self._go(changed(submission, state=WAITING))
            if may_resend_unknown(submission, claim.command, claim.rules, now=self._now):
                return self._go(changed(submission, state=WAITING, undecided=True))
            error = ProviderError(name="ambiguous", message="a national number can't be found in the history")
            return self._end(submission, Outcome.UNKNOWN, error)
        return self._look_of(self._leased(submission, DOUBTFUL))

    def _leased(self, submission: SubmissionRecord, state: str, **changes: Any) -> SubmissionRecord:
        leased = changed(
            submission,
            state=state,
            owner=self._claim.owner,
            claimed_at=self._now,
            lease_until=self._now + self._claim.rules.lease,
            first_attempt_at=submission.first_attempt_at or self._now,
            retry_at=None,
            **changes,
        )
        self._put(leased)
        return leased

    def _wait(self, at: float, *, limited: bool = False) -> Later:
        return Later(at=at, own=True, limited=limited, generation=self._record.generation)

    def _call_of(self, submission: SubmissionRecord) -> Call:
        return Call(
            attempts=submission.attempts,
            first_attempt_at=submission.first_attempt_at or self._now,
            generation=self._record.generation,
        )

    def _look_of(self, submission: SubmissionRecord) -> Look:
        rules = self._claim.rules.reconcile
        since, until = submission.doubt_from or self._now, submission.doubt_until or self._now
        window = window_of(since, until, rules)
        bounded = window if rules.history_cap and not submission.is_suspected else None
        return Look(generation=self._record.generation, window=bounded, since=window.start)

    def _end(
        self, submission: SubmissionRecord, outcome: Outcome, error: ProviderError | None = None
    ) -> Tell:
        claim = self._claim
        if submission.undecided:
            outcome, error = as_undecided(outcome, error)
        result = SubmissionResult(
            attempts=submission.attempts,
            replay=submission.replay,
            message_id=submission.message_id,
            error=error,
        )
        ending = Ending(
            command=claim.command,
            outcome=outcome,
            result=result,
            style=claim.style,
            now=self._now,
            traceparent=claim.traceparent,
        )
        ended, told = end(submission, ending, generation=self._record.generation)
        self._put(ended)
        expect_receipt(self._unit, self._record.id, ended, claim.rules.receipts, now=self._now)
        return Tell(outcome=outcome, told=told, fresh=True)

    def _put(self, submission: SubmissionRecord) -> None:
        self._record = self._record.having(submission, now=self._now)
        self._unit.commands[self._record.id] = self._record
