"""What a notification becomes: its event, and what it says of a message that was sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

from bridge.domain.addresses import parse_address
from bridge.domain.errors import InvalidAddress
from bridge.domain.events import OUTBOUND_SYNCED, event_id, make_event, read_data, value_of
from bridge.domain.evidence import Evidence
from bridge.domain.match_keys import LONGEST_TEXT, text_key
from bridge.domain.printable import REPLACEMENT
from bridge.domain.receipts import RECEIPT_TYPES

if TYPE_CHECKING:
    from bridge.domain.events import Event
    from bridge.domain.notifications import Notification

#: The provider writes times in seconds and in milliseconds: those from here on are the latter (wire reference 4.3).
_MILLISECONDS_FROM = 1e11
#: The years 2001 to 2286, in seconds since the epoch: a time beyond is a typing error (wire reference 4.3).
_PLAUSIBLE = (1e9, 1e10)
#: Characters; the provider's own ids have about 40 at most.
_LONGEST_ID = 128


def evidence_of(notification: Notification, *, default_region: str | None = None) -> Evidence | None:
    """Return what an outbound notification proves: the provider has sent this text, from this number to that one.

    Returns None for every other notification, and where a number, the text, the time or the message's id can't be
    told, or the text is longer than any SMS: then it matches nothing, and the provider's history has to tell.
    """
    if notification.event_type != OUTBOUND_SYNCED:
        return None
    data = notification.data
    message_id, message = data["message_id"], data["message"]
    sent_at = _seconds(data["date_time"])
    sender = _e164(data["sender_address"], default_region)
    destination = _e164(data["destination_address"], default_region)
    if not isinstance(message, str) or sent_at is None or sender is None or destination is None:
        return None
    if not _is_id(message_id) or len(message) > LONGEST_TEXT:
        return None
    return Evidence(
        message_id=message_id,
        sender_address=sender,
        destination_address=destination,
        text_key=text_key(message),
        sent_at=sent_at,
    )


def _is_id(value: object) -> TypeGuard[str]:
    """Whether it may be the provider's id of a message; a database would not take any string."""
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_ID:
        return False
    # What was repaired is another id than the provider's.
    return value.isprintable() and REPLACEMENT not in value


def _e164(value: object, default_region: str | None) -> str | None:
    try:
        return parse_address(value, default_region=default_region).e164 if isinstance(value, str) else None
    except InvalidAddress:
        return None


def _seconds(time: object) -> float | None:
    if isinstance(time, bool) or not isinstance(time, int | float):
        return None
    # No time of ours is beyond; a larger int has no float.
    if not 0 < time < 1e15:
        return None
    return time / 1000 if time > _MILLISECONDS_FROM else float(time)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptNotification:
    """What a notification says became of a message, for good."""

    message_id: str
    #: A key of `bridge.domain.receipts.TYPES`.
    status: str


def receipt_of(event: Event) -> ReceiptNotification | None:
    """Return the receipt that an event tells; None for every other event, and where the message can't be told."""
    if event.type not in RECEIPT_TYPES:
        return None
    data = read_data(event.body)
    message_id, status = value_of(data, "message_id"), value_of(data, "delivery_status")
    if not isinstance(status, str) or not _is_id(message_id):
        return None
    return ReceiptNotification(message_id=message_id, status=status)


def to_event(
    notification: Notification,
    *,
    source: str,
    time: float,
    camel_case: bool = False,
    traceparent: str | None = None,
) -> Event:
    """Return the event for `notification`, with the same id for the same notification whenever it comes.

    Its time is the notification's own, else that of its message, so that every process makes the same event of it; else
    `time`, which is in seconds since the epoch. The event has no subject: it belongs to no command.
    """
    named = (_seconds(value) for value in notification.times)
    own = (seconds for seconds in named if seconds is not None and _PLAUSIBLE[0] <= seconds < _PLAUSIBLE[1])
    at = next(own, time)
    return make_event(
        id=event_id(*notification.identity),
        type=notification.event_type,
        source=source,
        time=at,
        data=notification.data,
        camel_case=camel_case,
        traceparent=traceparent,
        also_noted=(notification.likeness,) if notification.likeness else (),
    )
