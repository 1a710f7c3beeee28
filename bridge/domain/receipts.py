"""Receipts: what the provider says afterwards became of a message it has accepted (SPEC section 3.2).

It is asked as a message ages, until it knows. With `first` 30 s and `max_age` a day:

    age      30 s   1 min   2    4    8    16   32   64 min ... 17 h   24 h
    asked    1st    2nd    3rd  4th  5th  6th  7th  8th        12th   13th, the last

What an outage keeps from being asked in time is asked once after it, and goes on from there.

    status                             means
    DeliveredToTerminal                sms.outbound.delivered
    DeliveryImpossible                 sms.outbound.undelivered
    any other, or none to be had       no news: it is asked again; after the last time nothing is told
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.domain import events
from bridge.domain.addresses import DEFAULT_SENDER
from bridge.domain.outcomes import read_outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bridge.domain.outcomes import Style
    from bridge.domain.rules import ReceiptRules

#: The types of the events that tell a receipt, by the status that each is told for (wire reference 4.1).
TYPES: Mapping[str, str] = {
    "DeliveredToTerminal": events.DELIVERED,
    "DeliveryImpossible": events.UNDELIVERED,
}
RECEIPT_TYPES = frozenset(TYPES.values())
#: Messages of one thread from which on it is read: a page of it is one call, and so is each message's status.
THREAD_FROM = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SentSubmission:
    """A submission that ended as `sent`, as the ledger remembers it."""

    command_id: str
    index: int
    replay: int
    #: The provider's.
    message_id: str
    #: The body of the event that told its outcome.
    event: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingReceipt:
    """A receipt that is awaited, and due to be asked for."""

    sent: SentSubmission
    #: Seconds since the epoch.
    sent_at: float
    #: Whether an event has told it meanwhile: a notification was quicker.
    published: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The two numbers of a thread."""

    remote_address: str = field(repr=False)
    local_address: str = field(repr=False)


def next_ask(sent_at: float, now: float, rules: ReceiptRules) -> float | None:
    """Return when to ask next for the receipt of what was sent at `sent_at`; None if now was the last time.

    All times are in seconds since the epoch.
    """
    age = now - sent_at
    if age >= rules.max_age:
        return None
    due = rules.first
    while due <= age:
        due *= 2
    # Where the clock was set back since, not for as long as that as well.
    return min(sent_at, now) + min(due, rules.max_age)


def pair_of(sent: SentSubmission) -> Pair | None:
    """Return the thread a message is in; None where it can't be told, and so its status not be asked for."""
    data = read_outcome(sent.event)
    remote, local = data["destination_address"], data["sender_address"]
    if not isinstance(remote, str) or not isinstance(local, str) or local == DEFAULT_SENDER:
        return None
    return Pair(remote_address=remote, local_address=local)


def by_thread(pending: Iterable[PendingReceipt]) -> Mapping[Pair | None, Sequence[PendingReceipt]]:
    """Return what is awaited by the thread it is in, in the order it came; None for no thread."""
    threads: dict[Pair | None, list[PendingReceipt]] = {}
    for one in pending:
        threads.setdefault(pair_of(one.sent), []).append(one)
    return threads


def receipt_ids(sent: SentSubmission) -> list[str]:
    """Return the ids of the events that may tell a submission's receipt."""
    return [_id(type_, sent) for type_ in TYPES.values()]


def receipt_event(sent: SentSubmission, status: str, *, style: Style, now: float) -> events.Event:
    """Return the event that tells a receipt: the outcome's data with the new status, which is a key of `TYPES`.

    Whoever learns of it makes the same id. `now` is in seconds since the epoch.
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
