"""GCRA rate limiter with two queues, for the whole account and for each sender number.

GCRA, the generic cell rate algorithm, stores one time per limit: the theoretical arrival time (TAT), the earliest time
at which the next submission keeps to the rate. A submission gets `max(TAT, now - allowance)`, and the TAT advances from
there by one interval (1 / rate). The allowance is the unused time that a burst may use up.

One TAT is not enough here. A submission does not wait in the limiter but leaves and comes back, often as a delayed copy
that is up to 2 s late, or hours late after an outage. If a reserved time were a promise, the backlog of an outage would
be sent all at once. If it were void, the submission would start again behind the whole backlog. Each limit (`Bucket`)
therefore has three TATs:

    TAT          advances with               meaning
    next_free    each reservation            first queue: the send time that the next new submission reserves
    next_queued  each entry into that queue  second queue: the next place, only for submissions whose send time is due
    open_at      each submission sent        the rate itself: the next submission is sent no earlier

A submission takes these steps. While there is capacity, the first two are one call, and it is sent at once:

    1. reserve   It reserves a send time from `next_free`. If that is in the future, it comes back then.
    2. queue     At its send time it takes a place from `next_queued`, which is never before `open_at`. If the place is
                 due, it is sent. Otherwise late submissions have used up the capacity, and it comes back at that time.
    3. send      At the time of its place it is sent. If `open_at` is in the future, it takes another place.

Example with 2 submissions per second: of five that arrive at 0 s, two are sent at once, and the others reserve 0.5 s,
1.0 s and 1.5 s. If the copy for 0.5 s comes at 1.0 s, it is sent together with the next one, because the capacity of
0.5 s is unused. A submission that arrives at 0.7 s reserves 2.0 s.

- Sends decide, not reservations. A backlog therefore leaves at the rate, and a reservation that is never used costs
  nothing for long: once `open_at` is `LAPSE` seconds in the past, any submission that comes is sent.
- A submission that has waited for its send time continues in the second queue, ahead of the backlog in the first.
- A place in the second queue expires `LAPSE` seconds after its time. The submission then takes another one.
- A submission under two limits passes the sender's first. It reserves nothing from the account's limit until then:
  a sender that waits for its own limit takes no capacity from other senders.
- `Retry-After` moves the three times of the account into the future (`hold_back`).

The times are rows of the ledger, written in the transaction of the claim. All workers therefore share each limit.
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
#: Seconds of unused capacity that new submissions may use at once.
BURST = 1.0
#: Seconds by which a submission may be late for its reservation or its place in the second queue. Late submissions may
#: use as much unused capacity at once. A delayed copy comes at most 2 s late (SPEC section 3); a submission that is
#: later than this was held up by an outage or a long queue, together with others.
LAPSE = 3.0


@dataclass(frozen=True, slots=True)
class Reservation:
    """The time at which a submission has to come back, or may be sent. In seconds since the epoch."""

    at: float
    #: The number of limits of which it has a reservation; `at` belongs to the last of them.
    reserved: int
    #: Whether `at` is a place in the second queue.
    queued: bool = False


#: The reservation of a submission that has not asked yet.
NO_RESERVATION = Reservation(at=0.0, reserved=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Permit:
    """The answer of one limit to a submission. Times are in seconds since the epoch."""

    #: When this limit allows the submission to be sent, or to ask again.
    at: float
    #: Whether `at` is a place in the second queue.
    queued: bool = False
    #: The bucket if the submission waits, with its reservation or place taken.
    bucket: Bucket
    #: The bucket if the submission is sent now; None if this limit does not allow that.
    sent: Bucket | None = None


def reserve(
    unit: UnitOfWork, limits: Mapping[str, float], *, now: float, held: Reservation = NO_RESERVATION
) -> Reservation:
    """Count the submission as sent, or reserve capacity up to the first limit that makes it wait.

    `limits` maps the names of its limits, the sender's first, to submissions per second; 0 means no limit. `held` is
    the reservation of its last call. The submission may be sent if the returned `at` is not in the future.
    """
    if not any(limits.values()) and unit.buckets.get(ACCOUNT, UNUSED).open_at <= now:
        # A shortcut for ledgers without limits, with the same result.
        return Reservation(now, len(limits))
    names = tuple(limits)
    permits = [
        _ask(unit.bucket(name), per_second, held, number, now)
        for number, (name, per_second) in enumerate(limits.items(), start=1)
    ]
    sent = [permit.sent for permit in permits if permit.sent is not None]
    if len(sent) == len(names):
        _put(unit, names, sent)
        return Reservation(now, len(names))
    first = next(number for number, permit in enumerate(permits, start=1) if permit.at > now)
    _put(unit, names[:first], [permit.bucket for permit in permits[:first]])
    return Reservation(permits[first - 1].at, max(held.reserved, first), permits[first - 1].queued)


def hold_back(unit: UnitOfWork, until: float) -> None:
    """Send nothing of the account before `until`, as the provider has asked (`Retry-After`)."""
    bucket = unit.bucket(ACCOUNT)
    unit.buckets[ACCOUNT] = Bucket(
        next_free=max(bucket.next_free, until),
        next_queued=max(bucket.next_queued, until),
        open_at=max(bucket.open_at, until),
    )


def _ask(bucket: Bucket, per_second: float, held: Reservation, number: int, now: float) -> _Permit:
    """Ask the limit with this number, from 1, on behalf of a submission that holds `held`."""
    if not per_second:
        # Only the provider's `Retry-After` applies. A later time than any back-off was noted before a clock step.
        if now < bucket.open_at <= now + LONGEST:
            return _Permit(at=bucket.open_at, bucket=bucket)
        return _Permit(at=now, bucket=bucket, sent=bucket)
    interval = 1.0 / per_second
    # Delayed copies overtake each other: capacity that those on their way have not used yet is kept for them.
    on_time = held.reserved > 0 and now <= held.at + LAPSE
    since = now - (LAPSE if on_time else max(0.0, BURST - interval))
    if number > held.reserved:
        permit = _reserve_time(bucket, interval, now)
    elif number < held.reserved or (held.queued and on_time):
        permit = _send_queued(bucket, interval, since, now)
    else:
        permit = _join_queue(bucket, interval, since, now)
    if permit.sent is None and bucket.open_at <= now - LAPSE:
        # The submissions that hold the capacity have not come, and it is not kept for them any longer.
        return replace(permit, sent=_after_send(bucket, interval, now - LAPSE))
    return permit


def _reserve_time(bucket: Bucket, interval: float, now: float) -> _Permit:
    """Reserve a send time; join the second queue at once if that time is due."""
    reservation = max(bucket.next_free, now - max(0.0, BURST - interval))
    bucket = replace(bucket, next_free=reservation + interval)
    return (
        _Permit(at=reservation, bucket=bucket)
        if reservation > now
        else _join_queue(bucket, interval, reservation, now)
    )


def _join_queue(bucket: Bucket, interval: float, since: float, now: float) -> _Permit:
    """Take a place in the second queue; capacity from before `since` is lost."""
    queued = max(bucket.next_queued, bucket.open_at, since)
    bucket = replace(bucket, next_queued=queued + interval)
    if queued > now:
        return _Permit(at=queued, queued=True, bucket=bucket)
    return _Permit(at=now, bucket=bucket, sent=_after_send(bucket, interval, since))


def _send_queued(bucket: Bucket, interval: float, since: float, now: float) -> _Permit:
    """Send at a place that is due; take another one if too many were sent before, or `Retry-After` applies."""
    if bucket.open_at > now:
        return _join_queue(bucket, interval, since, now)
    return _Permit(at=now, bucket=bucket, sent=_after_send(bucket, interval, since))


def _after_send(bucket: Bucket, interval: float, since: float) -> Bucket:
    return replace(bucket, open_at=max(bucket.open_at, since) + interval)


def _put(unit: UnitOfWork, names: Sequence[str], buckets: Sequence[Bucket]) -> None:
    for name, bucket in zip(names, buckets, strict=True):
        if bucket != unit.bucket(name):
            unit.buckets[name] = bucket
