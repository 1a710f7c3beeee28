"""Parser of webhook bodies into the form of the provider's SDKs (wire reference 7).

    top-level key                             event type                          type
    inboundSMSMessageNotification             sms.inbound.received                inbound
    outboundSMSMessageNotification            sms.outbound.synced                 outbound
    smsSubscriptionCancellationNotification   sms.subscription.cancelled          subscriptionCancel
    smsEventNotification                      sms.message.event                   event
    deliveryInfoNotification                  sms.outbound.delivered              deliveryInfo
                                              sms.outbound.undelivered
    anything else                             sms.notification.unrecognized

After a 2xx response the provider may never repeat a notification, so every body with an object becomes an event. If a
required field is missing, or if two types match, the event contains the whole body as unrecognized.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from bridge.domain import events, receipts
from bridge.domain.contracts.data import MESSAGE_KEYS
from bridge.domain.errors import InvalidNotification
from bridge.domain.match_keys import plain
from bridge.domain.strict_json import NotStrictJSON, loads

if TYPE_CHECKING:
    from collections.abc import Callable

#: The boundaries between the words of a camelCase key.
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

#: Levels of arrays and objects; the provider's own bodies have at most four.
MAX_DEPTH = 64

_Object: TypeAlias = dict[str, object]

_NO_OBJECT = "body is not an object with an object in it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """A parsed notification."""

    event_type: str
    #: ``data`` of its event (SPEC section 3.2): names in snake_case, values unchanged.
    data: _Object = field(repr=False)
    #: The parts of its event id (`bridge.domain.events.event_id`): the event type, the provider's id, and the content,
    #: because the provider's own fixtures use one id for different messages. A message read from the history has the
    #: same parts.
    identity: tuple[str, ...] = field(repr=False)
    #: Its times, unchanged: its own before its message's. Each may be missing or implausible.
    times: tuple[object, ...] = field(repr=False)
    #: A hash of an inbound message that does not depend on its text or the form of its numbers, which the history may
    #: change; empty for other notifications.
    likeness: str = field(default="", repr=False)


def parse_notification(body: bytes) -> Notification:
    """Return the notification in `body`.

    Raises:
        InvalidNotification: the body is not JSON within the limits, or not an object with an object in it.

    """
    try:
        document = loads(body, max_depth=MAX_DEPTH)
    except NotStrictJSON as e:
        raise InvalidNotification(f"body {e}") from None
    if not isinstance(document, dict):
        raise InvalidNotification(_NO_OBJECT)
    # The SDKs use the first key as the type; here further unknown keys are allowed.
    known = [key for key in document if key in _READERS]
    if len(known) == 1 and isinstance(outer := document[known[0]], dict):
        read = _READERS[known[0]](outer)
        if read is not None:
            return _notification(*read, document)
    if not any(isinstance(value, dict) for value in document.values()):
        raise InvalidNotification(_NO_OBJECT)
    return _unrecognized(document)


def recovered_notification(
    *,
    date_time: object,
    destination_address: str,
    message: str | None,
    message_id: str,
    sender_address: str,
) -> Notification:
    """Return an inbound message of the history as its missing notification, with the same identity.

    `date_time` is the history's value, which may have another unit than the webhook's.
    """
    data: _Object = {
        "date_time": date_time,
        "destination_address": destination_address,
        "message": message,
        "message_id": message_id,
        "sender_address": sender_address,
        **_stamp({}, "inbound"),
        "recovered": True,
    }
    return Notification(
        event_type=events.INBOUND_RECEIVED,
        data=data,
        identity=(events.INBOUND_RECEIVED, message_id, *_content(data)),
        times=(date_time,),
        likeness=_likeness(message_id, data),
    )


def _notification(event_type: str, data: _Object, key: _Key, document: _Object) -> Notification:
    """Make the notification from a reader's result; without a key its whole body is its identity."""
    data["recovered"] = False
    return Notification(
        event_type=event_type,
        data=data,
        identity=(event_type, *(key or (_canonical(document),))),
        times=(data.get("notification_date_time"), data.get("date_time")),
        likeness=_likeness(key[0], data) if key and event_type == events.INBOUND_RECEIVED else "",
    )


def _unrecognized(document: _Object) -> Notification:
    """Return a notification with the whole body. Its id counts only with its name: chat and SMS may use the same id."""
    name, value = next(iter(document.items()))
    key: _Key = ()
    if len(document) == 1 and isinstance(value, dict) and (id_ := _key(value.get("id"))):
        # A repeated notification may have another time.
        key = (name, id_, _canonical({field: value[field] for field in value if field != "dateTime"}))
    return Notification(
        event_type=events.NOTIFICATION_UNRECOGNIZED,
        data={"raw": document, "recovered": False},
        identity=(events.NOTIFICATION_UNRECOGNIZED, *(key or (_canonical(document),))),
        times=(value.get("dateTime"),) if isinstance(value, dict) else (),
    )


#: The provider's id of a notification and its content; empty where the notification has no id.
_Key: TypeAlias = tuple[str, ...]
#: The result of a reader: event type, data and the key of the identity.
_Read: TypeAlias = tuple[str, _Object, _Key]

#: The keys of every message; null if the provider left one out.
_MESSAGE = dict.fromkeys(key.name for key in MESSAGE_KEYS)


def _read_message(outer: _Object, name: str, kind: str, event_type: str) -> _Read | None:
    inner = outer.get(name)
    if not isinstance(inner, dict):
        return None
    data = _MESSAGE | _snake_keys(inner) | _stamp(outer, kind)
    id_ = _key(data["message_id"]) or _key(outer.get("id"))
    return event_type, data, (id_, *_content(data)) if id_ else ()


def _read_inbound(outer: _Object) -> _Read | None:
    return _read_message(outer, "inboundSMSMessage", "inbound", events.INBOUND_RECEIVED)


def _read_outbound(outer: _Object) -> _Read | None:
    return _read_message(outer, "outboundSMSMessage", "outbound", events.OUTBOUND_SYNCED)


def _read_cancellation(outer: _Object) -> _Read | None:
    subscription_id, key = _linked(outer), _key(outer.get("id"))
    if subscription_id is None and key is None:
        return None
    data = {"subscription_id": subscription_id} | _stamp(outer, "subscriptionCancel")
    return events.SUBSCRIPTION_CANCELLED, data, (key, subscription_id or "") if key else ()


def _read_event(outer: _Object) -> _Read | None:
    message_id, key = _linked(outer), _key(outer.get("id"))
    if message_id is None and key is None:
        return None
    details = {"description": outer.get("eventDescription"), "type": outer.get("eventType")}
    data = {"message_id": message_id} | _stamp(outer, "event") | {"event_details": details}
    return events.MESSAGE_EVENT, data, (key, _canonical([message_id, details])) if key else ()


def _read_delivery(outer: _Object) -> _Read | None:
    """Parse a delivery receipt, which has no id: message, recipient and status are its identity."""
    info = outer.get("deliveryInfo")
    if isinstance(info, list) and len(info) == 1:
        info = info[0]
    if not isinstance(info, dict):
        return None
    status = info.get("deliveryStatus")
    event_type = receipts.TYPES.get(status) if isinstance(status, str) else None
    if event_type is None:
        return None
    message_id, address = _key(info.get("messageId")), info.get("address")
    data = {"destination_address": address, "message_id": info.get("messageId"), "delivery_status": status}
    key = (_canonical([message_id, address, status]),) if message_id else ()
    return event_type, data | _stamp(outer, "deliveryInfo"), key


_READERS: dict[str, Callable[[_Object], _Read | None]] = {
    "inboundSMSMessageNotification": _read_inbound,
    "outboundSMSMessageNotification": _read_outbound,
    "smsSubscriptionCancellationNotification": _read_cancellation,
    "smsEventNotification": _read_event,
    "deliveryInfoNotification": _read_delivery,
}


def _stamp(outer: _Object, kind: str) -> _Object:
    return {
        "notification_id": outer.get("id"),
        "notification_date_time": outer.get("dateTime"),
        "type": kind,
    }


def _linked(outer: _Object) -> str | None:
    """Return the last path segment of the first link: the id of the notification's subject."""
    links = outer.get("link")
    for link in links if isinstance(links, list) else [links]:
        href = link.get("href") if isinstance(link, dict) else None
        if isinstance(href, str):
            return href.partition("?")[0].rstrip("/").rpartition("/")[2] or None
    return None


def _key(value: object) -> str | None:
    """Return the value as an id; None if it is missing or cannot be one."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value) or None


def _content(data: _Object) -> tuple[str, ...]:
    """Return the parts that distinguish messages with one id: numbers and text, without the time, whose unit varies.

    A message that is not a string has a further part, so that no text can equal its digest.
    """
    text = data["message"]
    numbers = _number(data["destination_address"]), _number(data["sender_address"])
    return (*numbers, plain(text)) if isinstance(text, str) else (*numbers, _canonical(text), "JSON")


def _number(value: object) -> str:
    return value.removeprefix("tel:") if isinstance(value, str) else _canonical(value)


def _likeness(message_id: str, data: _Object) -> str:
    numbers = data["destination_address"], data["sender_address"]
    # The last digits do not depend on a country code.
    tails = [number[-_TAIL:] if isinstance(number, str) else "" for number in numbers]
    said = "\0".join((message_id, *tails)).encode("utf-8", "surrogatepass")
    return hashlib.sha1(said, usedforsecurity=False).hexdigest()


#: Characters at the end of a number that all its forms share.
_TAIL = 7


def _canonical(value: object) -> str:
    """Return the SHA-256 of a value's JSON, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _snake_keys(values: _Object) -> _Object:
    return {_snake(key): value for key, value in values.items()}


def _snake(key: str) -> str:
    return _snake_of_few(key) if len(key) <= _LONGEST_KEY else _snaked(key)


def _snaked(key: str) -> str:
    return _WORDS.sub("_", key).lower()


#: The provider has a dozen keys. Longer ones from other senders are not cached, to bound the memory.
_LONGEST_KEY = 40
_snake_of_few = lru_cache(maxsize=256)(_snaked)
