"""Rows that the ledger has lost: it is gone, or was restored to an earlier state, or an older copy took its place.

Each claim is in the ledger before its call is made. So a delivery can show that a call is missing from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.domain.events import outcome_id
from bridge.domain.ledger.records import (
    ATTEMPTING,
    IN_DOUBT,
    CommandRecord,
    Replay,
    SubmissionRecord,
    changed,
)
from bridge.domain.match_keys import match_key

if TYPE_CHECKING:
    from bridge.domain.ledger.claim import Claim
    from bridge.domain.ledger.endings import RecordAnswer
    from bridge.domain.ledger.resolve import Resolve
    from bridge.domain.ledger.unit_of_work import UnitOfWork
    from bridge.domain.rules import LedgerRules

#: Seconds; older than this no dead letter is that the ledger has forgotten, nor any history.
FORGOTTEN = 10 * 366 * 86400.0
#: Replays of one submission that can be told from those of others without the ledger.
MOST_REPLAYS = 64
#: Seconds by which the doubt of what is suspected ends before its first claim, at least: that is how it is known.
SUSPECTED = 1.0
#: Seconds by which the clocks of publishers and workers may differ from the ledger's.
CLOCKS = 60.0


@dataclass(frozen=True, slots=True)
class Restored:
    """When it was restored, and since when calls may be lost. Both in seconds since the epoch."""

    at: float
    #: Every call that the ledger does not know of was made after this.
    since: float


def restored(
    at: float, *, last_commit_at: float | None, max_age: float, before: Restored | None = None
) -> Restored:
    """Return that the ledger was restored at `at`.

    Each call has its claim in the ledger before it is made. So what is lost was called after the last commit that the
    ledger still has, at `last_commit_at`; None where that is not known. Then it may have been called at any time within
    `max_age` seconds. `before` is the restore before this one: what that one lost may still be repeated.
    """
    since = at - max_age if last_commit_at is None else min(last_commit_at, at) - CLOCKS
    if before is not None and at < before.at + max_age:
        since = min(since, before.since)
    return Restored(at=at, since=since)


def doubt_from_any_call(submission: SubmissionRecord, now: float, rules: LedgerRules) -> float:
    """Return when the doubt began of a submission for which calls were made that nobody can date."""
    since = now - rules.retry.max_age
    return min(submission.doubt_from or since, since)


def put_back(unit: UnitOfWork, change: RecordAnswer | Resolve, *, since: float) -> CommandRecord:
    """Put back a submission whose claim the ledger has lost, in doubt: whoever claims it next must not call at once.

    A database that fails over to a copy that lags behind loses what it has committed.
    """
    command, now = change.command, change.now
    record = unit.commands.get(change.command_id) or CommandRecord(
        id=change.command_id, content_hash=command.content_hash, created_at=now, updated_at=now
    )
    doubt = SubmissionRecord(
        index=change.index,
        state=IN_DOUBT,
        match_key=match_key(command.destinations[change.index].wire, command.message),
        first_attempt_at=now,
        doubt_from=since,
        doubt_until=now,
        retry_at=now,
    )
    unit.commands[record.id] = record = record.having(doubt, now=now)
    return record


def may_be_lost(claim: Claim, restored: Restored | None) -> bool:
    """Whether a call for it may be among what a restored ledger has lost.

    Either this delivery was in a worker's hands before, or a publisher repeats an id: a repeat is a message of its own,
    which the broker delivers for the first time.
    """
    if restored is None:
        return False
    rules, age = claim.rules, claim.now - restored.at
    if age < rules.restored_lookup:
        return True
    was_there = claim.published_at is not None and claim.published_at < restored.at + CLOCKS
    return age < rules.retry.max_age and (claim.redelivered or (was_there and rules.restored_lookup > 0))


def may_be_older(
    claim: Claim, record: CommandRecord, submission: SubmissionRecord, restored: Restored | None
) -> bool:
    """Whether what the ledger says of it is older than this delivery: a copy from before was put in its place."""
    if claim.delayed and claim.version > record.version:
        # The version of a copy is in the ledger before the copy is made.
        return True
    if restored is None or record.created_at >= restored.at or not may_be_lost(claim, restored):
        return False
    if is_current_copy(claim, record, restored) and (submission.retry_at or 0.0) > claim.now:
        # It has come a moment early, and no call is made before its time.
        return False
    return max(submission.claimed_at or 0.0, submission.doubt_until or 0.0) < restored.at


def is_current_copy(claim: Claim, record: CommandRecord, restored: Restored | None) -> bool:
    """Whether it is the copy that a restored ledger waits for, and none of its submissions was claimed since.

    The command has hardly gone on without it: only a repeat can have taken its place in what is lost.
    """
    is_current = claim.delayed and claim.version == record.version and not claim.redelivered
    return is_current and restored is not None and record.updated_at < restored.at


def in_doubt(
    claim: Claim, submission: SubmissionRecord, restored: Restored | None, *, is_current: bool = False
) -> SubmissionRecord:
    """Return it in doubt until now: calls were made that the ledger does not know of.

    Where it `is_current_copy`, a call is only suspected, as in `lost`.
    """
    since = doubt_from_any_call(submission, claim.now, claim.rules)
    if restored is not None and may_be_lost(claim, restored):
        known = submission.doubt_from, submission.claimed_at if submission.state == ATTEMPTING else None
        since = min([restored.since, *(at for at in known if at is not None)])
    until = _suspected_until(claim) if is_current else claim.now
    return submission.released(
        IN_DOUBT,
        retry_at=None,
        doubt_from=min(since, until),
        doubt_until=max(until, submission.doubt_until or until),
        first_attempt_at=submission.first_attempt_at or (claim.now if is_current else None),
    )


def forgotten(claim: Claim, fresh: SubmissionRecord, restored: Restored | None) -> SubmissionRecord:
    """Return it in doubt since the first call that a ledger that is gone may have known of.

    A dead letter may be older than all that a ledger remembers. What it says of its submission can't be checked, so
    that alone is sent anew, and only if whoever sent it back said so.
    """
    replay = claim.replay
    since = claim.now - (claim.rules.retry.max_age if replay is None else FORGOTTEN)
    if restored is not None and may_be_lost(claim, restored):
        since = min(since, restored.since)
    return changed(
        fresh,
        state=IN_DOUBT,
        doubt_from=since,
        doubt_until=claim.now,
        first_attempt_at=claim.now,
        may_resend=replay is None or (replay.resend and _is_of(claim, replay)),
    )


def lost(claim: Claim, fresh: SubmissionRecord, restored: Restored) -> SubmissionRecord:
    """Return it in doubt since the first call that the restored ledger has lost.

    What no worker had before is suspected alone: only a repeat of its id can have been sent. So it waits for nothing:
    the history is read once, as if `reconcile.settle` had passed since the call.
    """
    until = claim.now if claim.redelivered else _suspected_until(claim)
    return changed(
        fresh,
        state=IN_DOUBT,
        doubt_from=min(restored.since, until),
        doubt_until=until,
        first_attempt_at=claim.now,
    )


def _suspected_until(claim: Claim) -> float:
    """Return when a call ended that is only suspected: so long ago that the history shows it."""
    return claim.now - max(claim.rules.reconcile.settle, SUSPECTED)


def _is_of(claim: Claim, replay: Replay) -> bool:
    """Whether the dead letter is of this submission, of those of its command: its event's id says so."""
    return any(
        outcome_id(claim.command_id, claim.index, replay_number) == replay.event_id
        for replay_number in range(MOST_REPLAYS)
    )
