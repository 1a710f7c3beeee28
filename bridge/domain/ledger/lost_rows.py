"""Lost rows: rules for a ledger that is gone, was restored to an earlier state, or was replaced by an older copy.

Each claim is in the ledger before its call is made. A delivery can therefore show that the ledger lacks a call.
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

#: Seconds. No dead letter whose row was lost or pruned is older, and no history reaches further back.
FORGOTTEN = 10 * 366 * 86400.0
#: Replays of one submission that can be recognised by their event ids without the ledger.
MOST_REPLAYS = 64
#: Seconds. The doubt of a suspected submission ends at least this long before its first claim, which marks it as such.
SUSPECTED = 1.0
#: Seconds by which the clocks of publishers and workers may differ from the ledger's.
CLOCKS = 60.0


@dataclass(frozen=True, slots=True)
class Restored:
    """A restore of the ledger, from a backup or by a failover. Times are in seconds since the epoch."""

    at: float
    #: Every call that the ledger has lost was made after this time.
    since: float


def restored(
    at: float, *, last_commit_at: float | None, max_age: float, before: Restored | None = None
) -> Restored:
    """Return the restore at the time `at`.

    Each call has its claim in the ledger before it is made. So every lost call was made after the last commit that the
    ledger still has, at `last_commit_at`. Without it, lost calls may be up to `max_age` seconds old. `before` is
    the previous restore: commands whose calls it lost may still be delivered.
    """
    since = at - max_age if last_commit_at is None else min(last_commit_at, at) - CLOCKS
    if before is not None and at < before.at + max_age:
        since = min(since, before.since)
    return Restored(at=at, since=since)


def doubt_from_any_call(submission: SubmissionRecord, now: float, rules: LedgerRules) -> float:
    """Return when the doubt of a submission began whose calls have no known time."""
    since = now - rules.retry.max_age
    return min(submission.doubt_from or since, since)


def restore_row(unit: UnitOfWork, change: RecordAnswer | Resolve, *, since: float) -> CommandRecord:
    """Restore a submission whose claim the ledger has lost, in doubt, so that the next claim looks it up first.

    A database that fails over to a lagging standby loses its last commits.
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
    """Whether a restored ledger may have lost a call for the submission.

    Either a worker had this delivery before, or a publisher has repeated the id: a repeat is a new message, which the
    broker delivers for the first time.
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
    """Whether the record is older than this delivery: an earlier copy of the ledger has replaced it."""
    if claim.delayed and claim.version > record.version:
        # A version is in the ledger before its copy is made.
        return True
    if restored is None or record.created_at >= restored.at or not may_be_lost(claim, restored):
        return False
    if is_current_copy(claim, record, restored) and (submission.retry_at or 0.0) > claim.now:
        # The copy has come a moment early, and no call is made before its time.
        return False
    return max(submission.claimed_at or 0.0, submission.doubt_until or 0.0) < restored.at


def is_current_copy(claim: Claim, record: CommandRecord, restored: Restored | None) -> bool:
    """Whether the delivery is the copy that a restored ledger waits for, with no change to its command since.

    Only a repeat of the id can then have caused a call that the ledger has lost.
    """
    is_current = claim.delayed and claim.version == record.version and not claim.redelivered
    return is_current and restored is not None and record.updated_at < restored.at


def in_doubt(
    claim: Claim, submission: SubmissionRecord, restored: Restored | None, *, is_current: bool = False
) -> SubmissionRecord:
    """Return the submission in doubt until now: calls were made that the ledger does not know.

    For the current copy (`is_current`), a call is only suspected, as in `lost`.
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
    """Return a submission without a row in doubt, since the first call that a lost or pruned row may have recorded.

    A dead letter may be older than the whole ledger, which then can't check its headers. Only the submission that its
    event id names is resent, and only if the operator asked for that.
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
    """Return a submission without a row in doubt, since the first call that the restored ledger may have lost.

    If no worker had the delivery before, a call is only suspected: a repeat of the id may have been sent. The history
    is then read once, without a wait, as if `reconcile.settle` had passed since the call.
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
    """Return the end of a suspected call: so long ago that the history shows it."""
    return claim.now - max(claim.rules.reconcile.settle, SUSPECTED)


def _is_of(claim: Claim, replay: Replay) -> bool:
    """Whether the dead letter belongs to this submission of its command, by the id of its event."""
    return any(
        outcome_id(claim.command_id, claim.index, replay_number) == replay.event_id
        for replay_number in range(MOST_REPLAYS)
    )
