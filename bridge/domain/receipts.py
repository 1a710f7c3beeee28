"""Delivery receipts: the provider's later reports about accepted messages (SPEC section 3.2).

The provider is polled at growing ages of a message until the status is final. With `first` 30 s and `max_age` 1 day:

    age      30 s   1 min   2    4    8    16   32   64 min ... 17 h   24 h
    poll     1st    2nd    3rd  4th  5th  6th  7th  8th        12th   13th, the last

A poll that an outage delayed is made once after it, and the schedule continues from there.

    status                             event
    DeliveredToTerminal                sms.outbound.delivered
    DeliveryImpossible                 sms.outbound.undelivered
    any other, or none                 none; the next poll follows, and after the last one nothing is published
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.domain import events
from bridge.domain.addresses import DEFAULT_SENDER
from bridge.domain.outcomes import read_outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bridge.domain.outcomes import EventFormat
    from bridge.domain.rules import ReceiptRules

#: The event types of receipts by their status (wire reference 4.1).
TYPES: Mapping[str, str] = {
    "DeliveredToTerminal": events.DELIVERED,
    "DeliveryImpossible": events.UNDELIVERED,
}
RECEIPT_TYPES = frozenset(TYPES.values())
#: The number of messages from which on their thread is read: one page of it is one call, as is each message's status.
THREAD_FROM = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SentSubmission:
    """A submission of the ledger that ended as `sent`."""

    command_id: str
    index: int
    replay: int
    #: The provider's id of the message.
    message_id: str
    #: The body of the outcome's event.
    event: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingReceipt:
    """A pending receipt whose poll is due."""

    sent: SentSubmission
    #: Seconds since the epoch.
    sent_at: float
    #: Whether a notification has already published the receipt.
    published: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The two numbers of a thread."""

    remote_address: str = field(repr=False)
    local_address: str = field(repr=False)


def next_ask(sent_at: float, now: float, rules: ReceiptRules) -> float | None:
    """Return the time of the next poll for a message sent at `sent_at`; None after the last one.

    All times are in seconds since the epoch.
    """
    age = now - sent_at
    if age >= rules.max_age:
        return None
    due = rules.first
    while due <= age:
        due *= 2
    # If the clock was set back, the wait must not grow by that.
    return min(sent_at, now) + min(due, rules.max_age)


def pair_of(sent: SentSubmission) -> Pair | None:
    """Return the thread of a message; None if it is not known, so that the status cannot be polled."""
    data = read_outcome(sent.event)
    remote, local = data["destination_address"], data["sender_address"]
    if not isinstance(remote, str) or not isinstance(local, str) or local == DEFAULT_SENDER:
        return None
    return Pair(remote_address=remote, local_address=local)


def by_thread(pending: Iterable[PendingReceipt]) -> Mapping[Pair | None, Sequence[PendingReceipt]]:
    """Group pending receipts by thread, in their order; None stands for an unknown thread."""
    threads: dict[Pair | None, list[PendingReceipt]] = {}
    for one in pending:
        threads.setdefault(pair_of(one.sent), []).append(one)
    return threads


def receipt_ids(sent: SentSubmission) -> list[str]:
    """Return the ids of the possible receipt events of a submission."""
    return [_id(type_, sent) for type_ in TYPES.values()]


def receipt_event(sent: SentSubmission, status: str, *, style: EventFormat, now: float) -> events.Event:
    """Return the event of a receipt: the outcome's data with the new status, which is a key of `TYPES`.

    Every process makes the same id. `now` is in seconds since the epoch.
    """
    return events.make_event(
        id=_id(TYPES[status], sent),
        type=TYPES[status],
        source=style.source,
        time=now,
        subject=sent.command_id,
        data=read_outcome(sent.event) | {"delivery_status": status},
        traceparent=events.read_traceparent(sent.event),
        camel_case=style.camel_case,
    )


def _id(type_: str, sent: SentSubmission) -> str:
    return events.event_id(type_, sent.command_id, sent.index, sent.replay)
