"""What a delivery shows of calls that the ledger knows nothing of: it is gone, or an older copy is in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.core.ledger.filing import doubt_from_any_call
from bridge.core.ledger.records import ATTEMPTING, DOUBTFUL, changed
from bridge.core.ledger.restored import CLOCKS
from bridge.core.outcomes import outcome_id

if TYPE_CHECKING:
    from bridge.core.ledger.claim import Claim, Replay
    from bridge.core.ledger.records import CommandRecord, SubmissionRecord
    from bridge.core.ledger.restored import Restored

#: Seconds; older than this no dead letter is that the ledger has forgotten, nor any history.
FORGOTTEN = 10 * 366 * 86400.0
#: Replays of one submission that can be told from those of others without the ledger.
MOST_REPLAYS = 64
#: Seconds by which the doubt of what is suspected ends before its first claim, at least: that is how it is known.
SUSPECTED = 1.0


def had_a_row(claim: Claim) -> bool:
    """Whether the ledger knew of the submission before, whatever it says now."""
    # Each copy from the delay had a row when it was made, and each dead letter an outcome.
    return claim.delayed or bool(claim.generation) or claim.replay is not None


def may_be_lost(claim: Claim, restored: Restored | None) -> bool:
    """Whether a call for it may be among what a restored ledger has lost.

    Either this delivery was in a worker's hands before, or a publisher repeats an id: a repeat is a message of its own,
    which the broker delivers for the first time.
    """
    if restored is None:
        return False
    rules, age = claim.rules, claim.now - restored.at
    if claim.redelivered:
        return age < rules.retry.max_age
    if age < rules.restored_lookup:
        return True
    is_older = claim.published_at is not None and claim.published_at < restored.at + CLOCKS
    return is_older and rules.restored_lookup > 0 and age < rules.retry.max_age


def may_be_older(
    claim: Claim, record: CommandRecord, submission: SubmissionRecord, restored: Restored | None
) -> bool:
    """Whether what the ledger says of it is older than this delivery: a copy from before was put in its place."""
    if claim.delayed and claim.generation > record.generation:
        # The generation of a copy is in the ledger before the copy is made.
        return True
    if restored is None or record.created_at >= restored.at or not may_be_lost(claim, restored):
        return False
    if claim.delayed and not claim.redelivered:
        # The current copy, for the first time: the ledger would have another generation had it gone on since.
        return False
    return max(submission.claimed_at or 0.0, submission.doubt_until or 0.0) < restored.at


def in_doubt(claim: Claim, submission: SubmissionRecord, restored: Restored | None) -> SubmissionRecord:
    """Return it in doubt until now: calls were made that the ledger does not know of."""
    since = doubt_from_any_call(submission, claim.now, claim.rules)
    if restored is not None and claim.now < restored.at + claim.rules.retry.max_age:
        known = submission.doubt_from, submission.claimed_at if submission.state == ATTEMPTING else None
        since = min([restored.since, *(at for at in known if at is not None)])
    return submission.released(DOUBTFUL, retry_at=None, doubt_from=since, doubt_until=claim.now)


def forgotten(claim: Claim, fresh: SubmissionRecord) -> SubmissionRecord:
    """Return it in doubt since the first call that a ledger that is gone may have known of.

    A dead letter may be older than all that a ledger remembers. What it says of its submission can't be checked, so
    that alone is sent anew, and only if whoever sent it back said so.
    """
    replay = claim.replay
    age = claim.rules.retry.max_age if replay is None else FORGOTTEN
    return changed(
        fresh,
        state=DOUBTFUL,
        doubt_from=claim.now - age,
        doubt_until=claim.now,
        first_attempt_at=claim.now,
        may_resend=replay is None or (replay.resend and _is_of(claim, replay)),
    )


def lost(claim: Claim, fresh: SubmissionRecord, restored: Restored) -> SubmissionRecord:
    """Return it in doubt since the first call that the restored ledger has lost.

    What no worker had before is suspected alone: only a repeat of its id can have been sent. So it waits for nothing:
    the history is read once, as if `reconcile.settle` had passed since the call.
    """
    until = claim.now if claim.redelivered else claim.now - max(claim.rules.reconcile.settle, SUSPECTED)
    return changed(
        fresh,
        state=DOUBTFUL,
        doubt_from=min(restored.since, until),
        doubt_until=until,
        first_attempt_at=claim.now,
    )


def _is_of(claim: Claim, replay: Replay) -> bool:
    """Whether the dead letter is of this submission, of those of its command: its event's id says so."""
    return any(
        outcome_id(claim.command_id, claim.index, life) == replay.event_id for life in range(MOST_REPLAYS)
    )
