"""A new life of a submission that ended: its dead letter was sent back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.domain.ledger.records import DOUBTFUL, WAITING, SubmissionRecord, changed
from bridge.domain.outcomes import Outcome

if TYPE_CHECKING:
    from bridge.domain.ledger.claim import Replay


def reopened(submission: SubmissionRecord, replay: Replay, now: float) -> SubmissionRecord | None:
    """Begin a new life of a submission whose dead letter was sent back; None where it must never be sent again."""
    fresh = SubmissionRecord(
        index=submission.index,
        state=WAITING,
        match_key=submission.match_key,
        replay=submission.replay + 1,
        message_id=submission.message_id,
    )
    match submission.outcome:
        case Outcome.FAILED | Outcome.REJECTED | Outcome.EXPIRED:
            return fresh
        case Outcome.UNKNOWN:
            since = submission.doubt_from or submission.claimed_at or submission.first_attempt_at or now
            until = submission.doubt_until or now
            return changed(
                fresh, state=DOUBTFUL, doubt_from=since, doubt_until=until, may_resend=replay.resend
            )
        case _:
            return None
