"""That the ledger was restored: it is an earlier state of itself, and what was committed since is lost."""

from __future__ import annotations

from dataclasses import dataclass

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
