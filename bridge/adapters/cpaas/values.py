"""The provider's resources as values: threads, messages, subscriptions, channels.

Parsing is lenient: of a response that differs from the documents, the readable parts are used (wire reference 4 and 6).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

Json: TypeAlias = "dict[str, object]"

#: A time above this is in milliseconds (wire reference 4.3): in seconds it would be the year 5138.
_MILLISECONDS_FROM = 1e11

#: An id that may become a segment of a path.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~+:@=-]{0,255}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderThread:
    """The messages between one of our numbers and one other number."""

    remote_address: str = field(repr=False)
    local_address: str = field(repr=False)
    #: Seconds since the epoch.
    last_message_at: float | None = None
    #: The number of its messages.
    length: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Threads:
    """Threads, in the provider's order."""

    threads: tuple[ProviderThread, ...]
    #: Whether the list was read to its end; a thread that moved during the reading may be missing.
    ended: bool
    #: Whether each entry could be read.
    readable: bool
    #: Whether these are certainly all threads.
    complete: bool
    #: False after a 404. A gateway also answers 404 for a path that it does not know: `vouched` is true only if the 404
    #: has the provider's envelope (wire reference 8.1).
    exists: bool = True
    vouched: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderMessage:
    """One message of a thread."""

    message_id: str
    #: ``inbound`` or ``outbound``, in lower case; another value is unchanged.
    direction: str
    text: str | None = field(repr=False)
    status: str | None
    remote_address: str = field(repr=False)
    local_address: str = field(repr=False)
    #: The time as received: seconds, milliseconds or an invalid value.
    date_time: object
    #: The same in seconds since the epoch, if it is a number.
    at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadMessages:
    """The messages of a thread, in the provider's order."""

    messages: tuple[ProviderMessage, ...]
    #: Whether these are all messages: False if pages may be missing.
    complete: bool
    #: See `Threads`.
    exists: bool = True
    vouched: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSubscription:
    """The channel that receives a number's messages."""

    id: str
    #: The channel's callback, which is not a URL.
    notify: str | None
    destination_address: str | None = field(repr=False)
    correlator: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderChannel:
    """The destination of notifications."""

    id: str
    #: The name by which subscriptions refer to it.
    callback: str
    #: ``webhooks``, ``websockets`` …, in lower case.
    type: str
    webhook_url: str | None = field(repr=False)
    #: The ``Authorization`` header of the notifications: a secret that any client with a token can read.
    authorization: str | None = field(repr=False)
    correlator: str | None


def read_threads(answer: Json) -> tuple[ProviderThread, ...]:
    """Read a list of threads, or a single one."""
    inside = _object(answer.get("smsThreadList")) or answer
    return tuple(filter(None, map(_thread, _objects(inside.get("smsThread")))))


def read_messages(answer: Json, remote: str, local: str) -> tuple[ProviderMessage, ...]:
    """Read a page of messages, or a single one, of the thread between `remote` and `local`."""
    inside = _object(answer.get("smsMessageList")) or answer
    messages = (_message(found, remote, local) for found in _objects(inside.get("smsMessage")))
    return tuple(message for message in messages if message is not None)


def count_entries(answer: Json, kind: str) -> int:
    """Return how many entries of `kind` a page has, readable or not."""
    found = (_object(answer.get(f"{kind}List")) or answer).get(kind)
    if isinstance(found, list):
        return len(found)
    return 0 if found is None else 1


def read_next(answer: Json, name: str) -> str | None:
    """Return the pointer to the next page, if there is one: in the list `name` or beside it."""
    pointer = _object(answer.get(name)).get("next") or answer.get("next")
    if not isinstance(pointer, str) or not pointer:
        return None
    inside_url = parse_qs(urlsplit(pointer).query).get("next")
    return inside_url[0] if inside_url else pointer


def read_subscriptions(answer: Json) -> tuple[ProviderSubscription, ...]:
    """Read a list of subscriptions, or a single one. Without any, the provider omits the key."""
    inside = _object(answer.get("subscriptionList")) or answer
    return tuple(filter(None, map(_subscription, _objects(inside.get("subscription")))))


def read_channels(answer: Json) -> tuple[ProviderChannel, ...]:
    """Read a list of channels, or a single one."""
    inside = _object(answer.get("notificationChannelList")) or answer
    return tuple(filter(None, map(_channel, _objects(inside.get("notificationChannel")))))


def _thread(found: Json) -> ProviderThread | None:
    remote, local = _text(found.get("remoteAddress")), _text(found.get("localAddress"))
    if remote is None or local is None:
        return None
    details = _object(found.get("threadDetails"))
    length = details.get("length")
    return ProviderThread(
        remote_address=remote,
        local_address=local,
        last_message_at=_seconds(details.get("lastMessageTime")),
        length=length if isinstance(length, int) and not isinstance(length, bool) and length >= 0 else None,
    )


def _message(found: Json, remote: str, local: str) -> ProviderMessage | None:
    message_id = _text(found.get("messageId")) or _last_part(found.get("resourceURL"))
    if message_id is None:
        return None
    return ProviderMessage(
        message_id=message_id,
        direction=(_text(found.get("type")) or "").lower(),
        text=found["message"] if isinstance(found.get("message"), str) else None,  # type: ignore[arg-type]
        status=_text(found.get("status")),
        remote_address=remote,
        local_address=local,
        date_time=found.get("dateTime"),
        at=_seconds(found.get("dateTime")),
    )


def _subscription(found: Json) -> ProviderSubscription | None:
    subscription_id = _last_part(found.get("resourceURL"))
    if subscription_id is None:
        return None
    return ProviderSubscription(
        id=subscription_id,
        notify=_text(_object(found.get("callbackReference")).get("notifyURL")),
        destination_address=_text(found.get("destinationAddress")),
        correlator=_correlator(found.get("clientCorrelator")),
    )


def _channel(found: Json) -> ProviderChannel | None:
    callback = _text(found.get("callbackURL"))
    channel_id = _last_part(found.get("resourceURL")) or _last_part(callback)
    if channel_id is None:
        return None
    data = _object(found.get("channelData"))
    return ProviderChannel(
        id=channel_id,
        callback=callback or channel_id,
        type=(_text(found.get("channelType")) or "").lower(),
        webhook_url=_text(data.get("x-webhookURL")),
        authorization=_text(data.get("x-authorization")),
        correlator=_correlator(found.get("clientCorrelator")),
    )


def _seconds(time: object) -> float | None:
    if isinstance(time, bool) or not isinstance(time, int | float):
        return None
    return time / 1000 if time > _MILLISECONDS_FROM else float(time)


def _last_part(url: object) -> str | None:
    """Return the last part of a URL's path, if it is an id. The URL itself is never called."""
    if not isinstance(url, str):
        return None
    part = unquote(url.rstrip("/").rpartition("/")[2])
    return part if _ID.fullmatch(part) else None


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> Iterable[Json]:
    """Yield the objects of an array, or a single object in place of the documented array."""
    values = value if isinstance(value, list) else [value]
    return (item for item in values if isinstance(item, dict))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _correlator(value: object) -> str | None:
    """Return a correlator, which fixtures show as a string and as a number."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
