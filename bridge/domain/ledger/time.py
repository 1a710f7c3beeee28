"""Rules for clock steps: leases, waits and times in the ledger after its clock was set.

The end of a lease, and the time that the provider needs to show a message, are durations. A clock step between two
readings makes their difference meaningless. So for a grace period, as long as both together, nothing is concluded from
elapsed time. A recorded time in the future, or one that is planned too far ahead, was noted before a clock step.
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

#: The bucket, beside those of the rate limits, that holds the end of the grace period.
CLOCK = "clock"
#: Seconds. No retry delay and no `Retry-After` hold is longer, unless configured.
LONGEST = 3600.0
#: Seconds by which the time may go back without a clock step: readings of one server's time differ.
DRIFT = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSet:
    """Record a clock step: it begins a grace period for all workers that share the ledger."""

    #: The new time.
    now: float
    rules: LedgerRules

    @property
    def read_set(self) -> ReadSet:
        """The bucket that holds the grace period."""
        return ReadSet(buckets=(CLOCK,), locked_buckets=(CLOCK,))

    def apply(self, unit: UnitOfWork) -> None:
        """Begin the grace period, in the new time. It replaces one in the old time."""
        unit.buckets[CLOCK] = Bucket(next_free=self.now + _grace(self.rules))


def grace_until(unit: UnitOfWork, now: float, rules: LedgerRules) -> float | None:
    """Return the end of the grace period; None outside of one."""
    until = unit.bucket(CLOCK).next_free
    return until if now < until <= now + max(_grace(rules), LONGEST) else None


def is_of_another_time(happened_at: float, now: float) -> bool:
    """Whether a recorded time is in the future: the clock was set back since."""
    return happened_at > now + DRIFT


def due_at(submission: SubmissionRecord, send_at: float, now: float, rules: LedgerRules) -> float:
    """Return when a waiting submission is due; at `send_at` of its command if the clock was set back since.

    All times are in seconds since the epoch.
    """
    retry_at = submission.retry_at or 0.0
    # A reservation of a rate limit may be any time ahead: it is behind a backlog.
    is_possible = submission.reserved or retry_at <= now + max(rules.retry.max_delay, LONGEST)
    return retry_at if is_possible else send_at


def renewed_lease(submission: SubmissionRecord, now: float, rules: LedgerRules) -> SubmissionRecord:
    """Return the submission with a lease from now: the clock was set back, and the start of its lease is not known.

    The owner does not notice. If the owner has crashed, its call is looked up as far back as calls may have been made.
    """
    since = doubt_from_any_call(submission, now, rules)
    return changed(submission, claimed_at=now, lease_until=now + rules.lease, doubt_from=since)


def _grace(rules: LedgerRules) -> float:
    return rules.lease + rules.reconcile.settle
