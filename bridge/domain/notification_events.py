"""Conversion of notifications: into events, and into evidence about sent messages."""

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

#: The provider writes times in seconds or in milliseconds; larger values are milliseconds (wire reference 4.3).
_MILLISECONDS_FROM = 1e11
#: The years 2001 to 2286, in seconds since the epoch; other times are errors (wire reference 4.3).
_PLAUSIBLE = (1e9, 1e10)
#: Characters; the provider's ids have about 40 at most.
_LONGEST_ID = 128


def evidence_of(notification: Notification, *, default_region: str | None = None) -> Evidence | None:
    """Return the evidence of an outbound notification: the provider has sent this text, from one number to another.

    Returns None for other notifications, and if a number, the text, the time or the message's id cannot be parsed or
    the text is longer than any SMS. Such a notification matches nothing, and a history lookup has to decide.
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
    """Whether the value may be the provider's id of a message; a database does not accept every string."""
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_ID:
        return False
    # A repaired id is not the provider's.
    return value.isprintable() and REPLACEMENT not in value


def _e164(value: object, default_region: str | None) -> str | None:
    try:
        return parse_address(value, default_region=default_region).e164 if isinstance(value, str) else None
    except InvalidAddress:
        return None


def _seconds(time: object) -> float | None:
    if isinstance(time, bool) or not isinstance(time, int | float):
        return None
    # Larger values are not times, and a very large int has no float.
    if not 0 < time < 1e15:
        return None
    return time / 1000 if time > _MILLISECONDS_FROM else float(time)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptNotification:
    """The final status of a message from a notification."""

    message_id: str
    #: A key of `bridge.domain.receipts.TYPES`.
    status: str


def receipt_of(event: Event) -> ReceiptNotification | None:
    """Return the receipt in an event; None for other events, and if the message's id is not valid."""
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
    """Return the event for `notification`; the same notification always has the same id.

    Its time is the notification's, else its message's, so that every process makes the same event; else it is `time`,
    in seconds since the epoch. The event has no subject, since it belongs to no command.
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
