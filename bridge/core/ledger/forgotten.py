"""What a delivery shows of calls that the ledger knows nothing of: it is gone, or an older copy is in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.core.ledger.filing import doubt_from_any_call
from bridge.core.ledger.records import DOUBTFUL, changed
from bridge.core.outcomes import outcome_id

if TYPE_CHECKING:
    from bridge.core.ledger.claim import Claim, Replay
    from bridge.core.ledger.records import CommandRecord, SubmissionRecord

#: Seconds; older than this no dead letter is that the ledger has forgotten, nor any history.
FORGOTTEN = 10 * 366 * 86400.0
#: Replays of one submission that can be told from those of others without the ledger.
MOST_REPLAYS = 64


def may_be_forgotten(claim: Claim) -> bool:
    """Whether a ledger that is gone may have known of a call for this."""
    if claim.delayed or claim.generation or claim.replay is not None:
        # Each copy from the delay had a row when it was made, and each dead letter an outcome.
        return True
    adopted_at, max_age = claim.adopted_at, claim.rules.retry.max_age
    return claim.redelivered and adopted_at is not None and claim.now < adopted_at + max_age


def may_be_older(claim: Claim, record: CommandRecord) -> bool:
    """Whether what the ledger says of it is older than this delivery: a copy from before was put in its place."""
    if claim.delayed and claim.generation > record.generation:
        # The generation of a copy is in the ledger before the copy is made.
        return True
    adopted_at, max_age = claim.adopted_at, claim.rules.retry.max_age
    return (
        claim.redelivered
        and adopted_at is not None
        and record.updated_at < adopted_at
        and claim.now < adopted_at + max_age
    )


def in_doubt(claim: Claim, submission: SubmissionRecord) -> SubmissionRecord:
    """Return it in doubt until now: calls were made that the ledger does not know of."""
    return submission.released(
        DOUBTFUL,
        retry_at=None,
        doubt_from=doubt_from_any_call(submission, claim.now, claim.rules),
        doubt_until=claim.now,
    )


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


def _is_of(claim: Claim, replay: Replay) -> bool:
    """Whether the dead letter is of this submission, of those of its command: its event's id says so."""
    return any(
        outcome_id(claim.command_id, claim.index, life) == replay.event_id for life in range(MOST_REPLAYS)
    )
