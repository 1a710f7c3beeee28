"""Rate limits: when the next submission of the account, and of a sender, may go out.

A limit has whoever comes wait in two lines. The first gives it a slot: when to come again, taken evenly, so that nobody
asks in vain until then. Whoever has come for its slot and can't go, since others came late before it, takes a turn: the
second line has only those that were there, so nobody falls behind who came first. Whether anybody goes is decided by
what has gone, never by a promise of before: what an outage or a long queue has kept goes at the rate, too. And what
those that are away leave unused is anybody's. Each of the three is the generic cell rate algorithm, a time and no more,
and lies in the ledger, so all workers share it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bridge.domain.ledger.time import LONGEST
from bridge.domain.ledger.unit_of_work import UNUSED, Bucket

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bridge.domain.ledger.unit_of_work import UnitOfWork

ACCOUNT = "account"
#: Seconds' worth of slots that may be taken at once after a quiet time.
BURST = 1.0
#: Seconds that a place in line may be used late: as much may go at once to catch up. A copy comes from the delay at
#: most 2 s late (SPEC section 3); what comes later than this was kept by an outage or a long queue, as were others.
LAPSE = 3.0


@dataclass(frozen=True, slots=True)
class Reservation:
    """When a submission may go on, in seconds since the epoch, and of how many limits it has a slot then."""

    at: float
    reserved: int
    #: Whether it was there for the last of its slots and could not go: then this is its turn.
    queued: bool = False


#: What a submission has that never waited.
NO_RESERVATION = Reservation(at=0.0, reserved=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Permit:
    """What one limit has a submission do. Times are in seconds since the epoch."""

    #: When it may pass.
    at: float
    queued: bool = False
    #: The bucket with its place in line taken.
    bucket: Bucket
    #: The bucket once it has gone; None where this limit does not let it go now.
    gone: Bucket | None = None


def reserve(
    unit: UnitOfWork, limits: Mapping[str, float], *, now: float, held: Reservation = NO_RESERVATION
) -> Reservation:
    """Have it go, or take the places in line that are missing, up to the first that is not due yet.

    `limits` are those that it is under, by name, with the submissions a second that each lets go; 0 for any number. The
    sender's comes first, and the account's is taken only once that is due: who waits for its own number takes nothing
    that another could use. `held` is what it was given when it was here before.
    """
    if not any(limits.values()) and unit.buckets.get(ACCOUNT, UNUSED).open_at <= now:
        # As below, at no cost to all who have no limits.
        return Reservation(now, len(limits))
    names = tuple(limits)
    passages = [
        _pass(unit.bucket(name), per_second, held, number, now)
        for number, (name, per_second) in enumerate(limits.items(), start=1)
    ]
    gone = [passage.gone for passage in passages if passage.gone is not None]
    if len(gone) == len(names):
        _put(unit, names, gone)
        return Reservation(now, len(names))
    first = next(number for number, passage in enumerate(passages, start=1) if passage.at > now)
    _put(unit, names[:first], [passage.bucket for passage in passages[:first]])
    return Reservation(passages[first - 1].at, max(held.reserved, first), passages[first - 1].queued)


def hold_back(unit: UnitOfWork, until: float) -> None:
    """Have nobody of the account go before `until`: the provider asked for it."""
    bucket = unit.bucket(ACCOUNT)
    unit.buckets[ACCOUNT] = Bucket(
        next_free=max(bucket.next_free, until),
        next_queued=max(bucket.next_queued, until),
        open_at=max(bucket.open_at, until),
    )


def _pass(bucket: Bucket, per_second: float, held: Reservation, number: int, now: float) -> _Permit:
    if not per_second:
        # No limit of ours; the provider may still have asked for quiet, but not for longer than anybody does.
        if now < bucket.open_at <= now + LONGEST:
            return _Permit(at=bucket.open_at, bucket=bucket)
        return _Permit(at=now, bucket=bucket, gone=bucket)
    interval = 1.0 / per_second
    # Copies come one before another: what those that are on their way have not used yet is left for them.
    on_time = held.reserved > 0 and now <= held.at + LAPSE
    since = now - (LAPSE if on_time else max(0.0, BURST - interval))
    if number > held.reserved:
        passage = _reserve_time(bucket, interval, now)
    elif number < held.reserved or (held.queued and on_time):
        passage = _pass_again(bucket, interval, since, now)
    else:
        passage = _join_queue(bucket, interval, since, now)
    if passage.gone is None and bucket.open_at <= now - LAPSE:
        # Those that it was for are away, and it can't be kept for them.
        return replace(passage, gone=_used(bucket, interval, now - LAPSE))
    return passage


def _reserve_time(bucket: Bucket, interval: float, now: float) -> _Permit:
    """Have it pass in the first line, and in the second where its slot is due at once."""
    reservation = max(bucket.next_free, now - max(0.0, BURST - interval))
    bucket = replace(bucket, next_free=reservation + interval)
    return (
        _Permit(at=reservation, bucket=bucket)
        if reservation > now
        else _join_queue(bucket, interval, reservation, now)
    )


def _join_queue(bucket: Bucket, interval: float, since: float, now: float) -> _Permit:
    """Have it pass in the second line, in which nothing from before `since` is left."""
    queued = max(bucket.next_queued, bucket.open_at, since)
    bucket = replace(bucket, next_queued=queued + interval)
    if queued > now:
        return _Permit(at=queued, queued=True, bucket=bucket)
    return _Permit(at=now, bucket=bucket, gone=_used(bucket, interval, since))


def _pass_again(bucket: Bucket, interval: float, since: float, now: float) -> _Permit:
    """Have it go, whose turn it is: it takes another only where too many have gone, or the provider wants quiet."""
    if bucket.open_at > now:
        return _join_queue(bucket, interval, since, now)
    return _Permit(at=now, bucket=bucket, gone=_used(bucket, interval, since))


def _used(bucket: Bucket, interval: float, since: float) -> Bucket:
    return replace(bucket, open_at=max(bucket.open_at, since) + interval)


def _put(unit: UnitOfWork, names: Sequence[str], buckets: Sequence[Bucket]) -> None:
    for name, bucket in zip(names, buckets, strict=True):
        if bucket != unit.bucket(name):
            unit.buckets[name] = bucket
