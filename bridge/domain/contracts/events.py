"""The contract of events: CloudEvents 1.0.2 in structured JSON (SPEC section 3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.domain import events, receipts
from bridge.domain.contracts import data
from bridge.domain.contracts.shapes import (
    ANY,
    COUNT,
    STRING,
    TEXT,
    TIME,
    TRACEPARENT,
    UUID5,
    Key,
    Schema,
    Shape,
    Spelling,
    constant,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The delivery status of each type of receipt.
_STATUS = {type_: status for status, type_ in receipts.TYPES.items()}


def _receipts(type_: str) -> tuple[Shape, ...]:
    return data.stored_event(_STATUS[type_]), data.receipt(_STATUS[type_])


#: The meaning of each type, and the shape of its `data`: one, or one of several.
TYPES: Mapping[str, tuple[str, tuple[Shape, ...]]] = {
    events.SENT: ("Terminal: the provider has accepted the submission.", (data.OUTCOME,)),
    events.UNDELIVERABLE: (
        "Terminal: the provider has accepted the submission and will not deliver it.",
        (data.OUTCOME,),
    ),
    events.REJECTED: ("Terminal: the provider refused the submission permanently.", (data.ENDED_BADLY,)),
    events.INVALID: (
        "Terminal: the command cannot be parsed or is not valid, or another command has the same id (`conflict`). "
        "The provider was not called. One event covers all destinations.",
        (data.INVALID,),
    ),
    events.EXPIRED: (
        "Terminal: expires_at passed before the submission could be made.",
        (data.ENDED_BADLY,),
    ),
    events.FAILED: (
        "Terminal: the bridge gave up, and the provider has accepted nothing.",
        (data.ENDED_BADLY,),
    ),
    events.UNKNOWN: (
        "Terminal: it is not known whether the provider accepted the submission.",
        (data.ENDED_BADLY,),
    ),
    events.DEFERRED: ("Not terminal: another call or history lookup follows at retry_at.", (data.DEFERRED,)),
    events.DELIVERED: (
        "After `sent`: the message is on the handset. It has a subject if the message belongs to a command.",
        _receipts(events.DELIVERED),
    ),
    events.UNDELIVERED: (
        "After `sent`: the message cannot be delivered. It has a subject if the message belongs to a command.",
        _receipts(events.UNDELIVERED),
    ),
    events.INBOUND_RECEIVED: ("An SMS was received.", (data.RECEIVED,)),
    events.OUTBOUND_SYNCED: (
        "An SMS was sent from the account, by the bridge or by another application.",
        (data.SYNCED,),
    ),
    events.SUBSCRIPTION_CANCELLED: ("The provider has cancelled a subscription.", (data.CANCELLED,)),
    events.MESSAGE_EVENT: ("A message has changed.", (data.MESSAGE_EVENT,)),
    events.NOTIFICATION_UNRECOGNIZED: (
        "The provider has sent a notification of an unknown kind.",
        (data.UNRECOGNIZED,),
    ),
}
#: Types that belong to a command only sometimes; those of `_OURS` beside them always do.
_SOMETIMES_OURS = frozenset({events.INVALID, events.DELIVERED, events.UNDELIVERED})
_OURS = events.TERMINAL | _SOMETIMES_OURS | {events.DEFERRED}

_SUBJECT = "The command's id; also the AMQP correlation_id."


def _envelope(type_: str) -> Shape:
    """Return the event without its data: CloudEvents 1.0.2 section 3.1, and its extension for tracing."""
    keys = [
        Key("specversion", constant("1.0"), "The version of CloudEvents."),
        Key("id", UUID5, "The event's id, the same in each repetition: drop ids that you have seen."),
        Key("type", constant(type_), "The type of the event; also the routing key and the AMQP type."),
        Key(
            "source",
            {"type": "string", "pattern": "^/sms-bridge/."},
            "The bridge: /sms-bridge/ and its prefix.",
        ),
        Key(
            "time",
            TIME,
            "The time of recording, or the notification's time: RFC 3339 in UTC, with milliseconds.",
        ),
        Key("datacontenttype", constant("application/json"), "The media type of `data`."),
    ]
    if type_ in _OURS:
        keys.append(Key("subject", TEXT, _SUBJECT, required=type_ not in _SOMETIMES_OURS))
    trace = "The W3C trace context of the command or notification that caused the event."
    keys.append(Key("traceparent", TRACEPARENT, trace, required=False))
    return Shape(TYPES[type_][0], tuple(keys))


def event_schema(type_: str, spelling: Spelling) -> Schema:
    """Return the schema of the events of a type."""
    shapes = TYPES[type_][1]
    if len(shapes) == 1:
        content: Shape | Schema = shapes[0]
    else:
        content = {"anyOf": [spelling.schema(shape) for shape in shapes]}
    envelope = _envelope(type_)
    key = Key("data", content, "The content of the event.")
    return spelling.schema(Shape(envelope.meaning, (*envelope.keys, key)))


_PERSISTENT = Key("delivery_mode", constant(2), "Persistent.")
_CONTENT_TYPE = Key("content_type", constant(events.CONTENT_TYPE), "CloudEvents in structured JSON.")


def event_properties(type_: str) -> Shape:
    """Return the AMQP basic properties of the events of a type (AMQP 0-9-1 section 1.8)."""
    keys = [
        Key("message_id", UUID5, "The event's id."),
        Key("type", constant(type_), "The event's type; also the routing key."),
        Key("timestamp", COUNT, "The event's time, in whole seconds since the epoch."),
    ]
    if type_ in _OURS:
        # AMQP 0-9-1 section 4.2.5.3 limits a short string to 255 bytes; an id of 128 characters may take 512.
        meaning = "The event's subject, if it has at most 255 bytes."
        keys.append(Key("correlation_id", TEXT, meaning, required=False))
    return Shape("AMQP basic properties of the event.", (*keys, _CONTENT_TYPE, _PERSISTENT))


#: As the event's properties, except for the correlation_id, which is the command's.
REPLY_PROPERTIES = Shape(
    "AMQP basic properties of the reply.",
    (
        Key("message_id", UUID5, "The event's id."),
        Key("type", STRING, "The event's type."),
        Key("correlation_id", ANY, "The command's correlation_id, if it has one.", required=False),
        _CONTENT_TYPE,
        _PERSISTENT,
    ),
)
