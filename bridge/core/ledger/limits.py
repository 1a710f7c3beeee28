"""Rate limits: when the next submission of the account, and of a sender, may go out.

Each limit is the generic cell rate algorithm: one number, the time at which the next slot would be if all slots were
taken evenly. It lies in the ledger, so all workers share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.core.ledger.time import LONGEST

if TYPE_CHECKING:
    from bridge.core.ledger.slate import Slate
    from bridge.core.rules import LimitRules

ACCOUNT = "account"
#: Until when the provider wants to hear nothing: slots granted before it said so are void until then.
HOLD = "hold"
#: Seconds' worth of slots that may be taken at once after a quiet time.
BURST = 1.0
#: Seconds that a slot may be used late. A copy comes from the delay at most 2 s late (SPEC section 3); what comes later
#: than this was kept by an outage, and so were all others: together they would go at once.
LAPSE = 3.0


def buckets_of(sender_address: str) -> tuple[str, str]:
    """Return the names of the limits that a submission is under."""
    return ACCOUNT, f"sender:{sender_address}"


def reserved_by(sender_address: str, rules: LimitRules) -> tuple[str, ...]:
    """Return the names of those that a submission takes slots of: without a limit there are none to take."""
    account, sender = buckets_of(sender_address)
    rates = {account: rules.account_per_second, sender: rules.sender_per_second}
    return tuple(name for name, per_second in rates.items() if per_second)


@dataclass(frozen=True, slots=True)
class Slot:
    """When a submission may go on, in seconds since the epoch, and of how many limits it has a slot then."""

    at: float
    granted: int


def reserve(slate: Slate, sender_address: str, rules: LimitRules, *, now: float, granted: int = 0) -> Slot:
    """Take the slots that are missing, up to the first that is not due yet.

    The sender's comes first, and the account's is taken only once that is due: who waits for its own number takes
    nothing that another could use. `granted` is how many it has.
    """
    account, sender = buckets_of(sender_address)
    limits = ((sender, rules.sender_per_second), (account, rules.account_per_second))
    for number, (bucket, per_second) in enumerate(limits, start=1):
        if number <= granted:
            continue
        slot = _take(slate, bucket, per_second, now)
        if slot > now:
            return Slot(slot, number)
    return Slot(now, len(limits))


def hold_back(slate: Slate, until: float) -> None:
    """Have nobody of the account go before `until`: the provider asked for it."""
    for bucket in (ACCOUNT, HOLD):
        slate.buckets[bucket] = max(slate.buckets.get(bucket, 0.0), until)


def is_held_back(slate: Slate, now: float) -> bool:
    """Whether nobody of the account may go yet, slot or not."""
    return now < slate.buckets.get(HOLD, 0.0) <= now + LONGEST


def has_lapsed(slot: float | None, now: float) -> bool:
    """Whether a slot that was granted for then is too old to be used."""
    return slot is not None and now > slot + LAPSE


def _take(slate: Slate, bucket: str, per_second: float, now: float) -> float:
    next_free = slate.buckets.get(bucket, 0.0)
    if not per_second:
        # No limit of ours; the provider may still have asked for quiet, but not for longer than anybody does.
        return next_free if next_free <= now + LONGEST else now
    interval = 1.0 / per_second
    burst = max(0.0, BURST - interval)
    slot = max(next_free, now - burst)
    slate.buckets[bucket] = slot + interval
    return slot
