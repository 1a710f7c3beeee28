"""What follows where the time that leases and waits are counted in was set.

Whether a lease is over, and whether the provider had its time to show a message, are questions about how long something
took. Where the clock was set meanwhile its difference says nothing, so for as long as the longest of both takes nothing
is concluded from it; and what happened later than now, or is planned for later than anything is, is of another time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.domain.ledger.lost_rows import doubt_from_any_call
from bridge.domain.ledger.records import SubmissionRecord, changed
from bridge.domain.ledger.unit_of_work import Bucket, ReadSet

if TYPE_CHECKING:
    from bridge.domain.ledger.unit_of_work import UnitOfWork
    from bridge.domain.rules import LedgerRules

#: Where it is kept until when nothing may be concluded, beside the times of the rate limits.
CLOCK = "clock"
#: Seconds; no retry and no quiet is longer, unless configured so.
LONGEST = 3600.0
#: Seconds that the time may go back by without having been set: one host's readings of a server's differ.
DRIFT = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSet:
    """Note that the time was set: whoever shares the ledger concludes nothing from it for a while."""

    #: The new time.
    now: float
    rules: LedgerRules

    @property
    def read_set(self) -> ReadSet:
        """The place where it is noted."""
        return ReadSet(buckets=(CLOCK,), locked_buckets=(CLOCK,))

    def apply(self, unit: UnitOfWork) -> None:
        """Note it, in the new time: what was noted in another one is void."""
        unit.buckets[CLOCK] = Bucket(next_free=self.now + _grace(self.rules))


def grace_until(unit: UnitOfWork, now: float, rules: LedgerRules) -> float | None:
    """Return until when nothing may be concluded from how late it is; None where it may be."""
    until = unit.bucket(CLOCK).next_free
    return until if now < until <= now + max(_grace(rules), LONGEST) else None


def is_of_another_time(happened_at: float, now: float) -> bool:
    """Whether something happened later than now: the clock was set back since."""
    return happened_at > now + DRIFT


def due_at(submission: SubmissionRecord, send_at: float, now: float, rules: LedgerRules) -> float:
    """Return when a waiting submission is due: at once where the clock was set back since that was planned.

    `send_at` is the time that its command asks for.
    """
    retry_at = submission.retry_at or 0.0
    # A slot of a rate limit may be as far away as many others have theirs before it.
    is_possible = submission.reserved or retry_at <= now + max(rules.retry.max_delay, LONGEST)
    return retry_at if is_possible else send_at


def renewed_lease(submission: SubmissionRecord, now: float, rules: LedgerRules) -> SubmissionRecord:
    """Return a claim that ends as if it began now: the clock was set back, and nobody knows when it did.

    Its owner notices nothing. Should it have ended, what it called is looked for as far back as calls may be.
    """
    since = doubt_from_any_call(submission, now, rules)
    return changed(submission, claimed_at=now, lease_until=now + rules.lease, doubt_from=since)


def _grace(rules: LedgerRules) -> float:
    return rules.lease + rules.reconcile.settle
