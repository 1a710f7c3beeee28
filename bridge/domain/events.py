"""The events that the bridge publishes: CloudEvents 1.0 in structured JSON, with deterministic ids.

Ids are UUIDv5 (RFC 9562 section 5.5) over the identifying parts of an event (SPEC section 3.2). So a redelivery, a
retry or another process makes the same id, and a consumer that drops ids it has seen processes each event once.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING

from bridge.domain.json_writer import make_encoder
from bridge.domain.messages import Outgoing
from bridge.domain.printable import repaired

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTENT_TYPE = "application/cloudevents+json"

#: The namespace of all event ids. A change would change all ids, and consumers would take old events for new ones.
NAMESPACE = uuid.UUID("6f1b54d8-6a3c-5e0c-9f0e-2a4c1f9b7d35")

SENT = "sms.outbound.sent"
UNDELIVERABLE = "sms.outbound.undeliverable"
REJECTED = "sms.outbound.rejected"
INVALID = "sms.outbound.invalid"
EXPIRED = "sms.outbound.expired"
FAILED = "sms.outbound.failed"
UNKNOWN = "sms.outbound.unknown"
DEFERRED = "sms.outbound.deferred"
DELIVERED = "sms.outbound.delivered"
UNDELIVERED = "sms.outbound.undelivered"
INBOUND_RECEIVED = "sms.inbound.received"
OUTBOUND_SYNCED = "sms.outbound.synced"
SUBSCRIPTION_CANCELLED = "sms.subscription.cancelled"
MESSAGE_EVENT = "sms.message.event"
NOTIFICATION_UNRECOGNIZED = "sms.notification.unrecognized"

#: The types that end a submission (SPEC section 3.2).
TERMINAL = frozenset({SENT, UNDELIVERABLE, REJECTED, INVALID, EXPIRED, FAILED, UNKNOWN})
#: The outcomes of commands that may be on the dead-letter queue; `expired` if the broker's own TTL has passed.
DEAD_LETTERS = frozenset({INVALID, REJECTED, FAILED, UNKNOWN, EXPIRED})
#: The outcomes that also leave the command on the dead-letter queue (SPEC section 3.3).
DEAD = frozenset({INVALID, REJECTED, FAILED, UNKNOWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event, ready to be recorded and published: its body never changes."""

    id: str
    type: str
    #: The command's id, if the event belongs to a command: CloudEvents `subject`, AMQP `correlation_id`.
    subject: str | None
    body: bytes = field(repr=False)
    #: Further ids that the ledger notes after the publish; webhooks are not looked up by them.
    also_noted: tuple[str, ...] = field(default=(), repr=False)
    #: Whether half a surrogate pair was replaced by U+FFFD.
    is_repaired: bool = False


def event_id(*parts: object) -> str:
    """Return the UUIDv5 of `parts`, encoded so that different lists never have the same encoding."""
    # The JSON of a list of strings, without making an encoder for each call.
    name = f"[{', '.join([encode_basestring_ascii(str(part)) for part in parts])}]".encode()
    # The same as `uuid.uuid5`, without the UUID object, which takes most of the time.
    digest = bytearray(hashlib.sha1(NAMESPACE.bytes + name, usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def outcome_id(command_id: str | None, index: int, replay_number: int) -> str:
    """Return the id of the outcome event of a submission's replay (SPEC section 3.2)."""
    return event_id("outcome", command_id, index, replay_number)


def make_event(
    *,
    id: str,  # noqa: A002 - the attribute's name in CloudEvents
    type: str,  # noqa: A002 - as above
    source: str,
    time: float,
    data: Mapping[str, object],
    subject: str | None = None,
    traceparent: str | None = None,
    camel_case: bool = False,
    also_noted: tuple[str, ...] = (),
) -> Event:
    """Build an event. `time` is in seconds since the epoch.

    With `camel_case` the keys of `data` are spelled as in the provider's Node.js SDK, except for keys inside `metadata`
    and `raw`, which stay unchanged. Half a surrogate pair, which UTF-8 cannot encode, becomes U+FFFD.
    """
    envelope: dict[str, object] = {
        "specversion": "1.0",
        "id": id,
        "type": type,
        "source": source,
        "time": rfc3339(time),
        "datacontenttype": "application/json",
    }
    if subject is not None:
        envelope["subject"] = subject
    if traceparent is not None:
        envelope["traceparent"] = traceparent
    envelope["data"] = camel_keys(data) if camel_case else data
    text, is_repaired = "".join(_encode(envelope, 0)), False
    try:
        body = text.encode()
    except UnicodeEncodeError:
        body, is_repaired = "".join(_encode(repaired(envelope), 0)).encode(), True
    return Event(id=id, type=type, subject=subject, body=body, also_noted=also_noted, is_repaired=is_repaired)


def outgoing_event(event: Event, *, exchange: str, unrouted_queue: str) -> Outgoing:
    """Return the message that publishes `event` to `exchange`.

    An event for which no queue is bound goes to `unrouted_queue` and counts as published. The message depends on the
    event alone, so that a republished event is the same message, also from another process.

    Raises:
        ValueError: the body has no time, so it is not from `make_event`.

    """
    properties: dict[str, object] = {
        "message_id": event.id,
        "type": event.type,
        "timestamp": _recorded(event.body),
    }
    if event.subject is not None:
        properties["correlation_id"] = event.subject
    return Outgoing(
        exchange=exchange,
        routing_key=event.type,
        body=event.body,
        content_type=CONTENT_TYPE,
        properties=properties,
        fallback=unrouted_queue,
    )


def _recorded(body: bytes) -> int:
    """Return the event's time in whole seconds since the epoch, for AMQP's `timestamp`."""
    found = _TIME.search(body)
    if found is None:
        raise ValueError("an event without a time: its body is not from make_event")
    return int(datetime.fromisoformat(found[1].decode("ascii")).timestamp())


#: The envelope's `time`, which precedes `data`. Quotes inside a JSON string are escaped, so that the first match is
#: never in the text of an SMS. Unlike a parser, the search does not depend on the nesting of the data.
_TIME = re.compile(rb'"time":"([^"\\]+)"')


def read_data(body: bytes) -> dict[str, object]:
    """Return the data of an event from `make_event`."""
    data: dict[str, object] = json.loads(body)["data"]
    return data


def read_traceparent(body: bytes) -> str | None:
    """Return the W3C trace context of an event from `make_event`, if it has one."""
    traceparent: str | None = json.loads(body).get("traceparent")
    return traceparent


def rfc3339(time: float) -> str:
    """Return `time` (seconds since the epoch) as RFC 3339 in UTC, with milliseconds."""
    seconds, microseconds = divmod(round(time * 1_000_000), 1_000_000)
    return f"{_second(seconds)}.{microseconds // 1000:03d}Z"


@lru_cache(maxsize=16)  # many events have the same second
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()


_encode = make_encoder(separators=(",", ":"))


#: Keys whose values come from the caller or the provider and keep their spelling.
_FOREIGN = frozenset({"metadata", "raw"})


def camel_keys(data: Mapping[str, object]) -> dict[str, object]:
    """Return an event's data with the keys spelled as in the provider's Node.js SDK."""
    return {
        camel(key): camel_keys(value) if isinstance(value, dict) and key not in _FOREIGN else value
        for key, value in data.items()
    }


def value_of(data: Mapping[str, object], key: str) -> object:
    """Return the value of `key` in an event's data, in either spelling; None if it is missing."""
    return data.get(key, data.get(camel(key)))


def camel(key: str) -> str:
    """Return a key in the spelling of the provider's Node.js SDK."""
    head, *tail = key.split("_")
    return head + "".join(word.capitalize() for word in tail)
