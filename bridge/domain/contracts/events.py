"""The events, as the bridge publishes them: CloudEvents 1.0.2 in structured JSON (SPEC section 3.2)."""

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

#: The status that each type of receipt is told for.
_STATUS = {type_: status for status, type_ in receipts.TYPES.items()}


def _receipts(type_: str) -> tuple[Shape, ...]:
    return data.stored_event(_STATUS[type_]), data.receipt(_STATUS[type_])


#: What each type means, and what its `data` is: one shape, or one of several.
TYPES: Mapping[str, tuple[str, tuple[Shape, ...]]] = {
    events.SENT: ("Terminal: the provider has accepted the submission.", (data.OUTCOME,)),
    events.UNDELIVERABLE: (
        "Terminal: the provider has accepted the submission and will not deliver it.",
        (data.OUTCOME,),
    ),
    events.REJECTED: ("Terminal: the provider refused the submission for good.", (data.ENDED_BADLY,)),
    events.INVALID: (
        "Terminal: the command can't be read or is not valid, or another one has its id (`conflict`); nothing was "
        "called. One for all its destinations.",
        (data.INVALID,),
    ),
    events.EXPIRED: (
        "Terminal: expires_at passed before the submission could be made.",
        (data.ENDED_BADLY,),
    ),
    events.FAILED: ("Terminal: given up, and nothing was submitted.", (data.ENDED_BADLY,)),
    events.UNKNOWN: ("Terminal: nobody can tell whether it was submitted.", (data.ENDED_BADLY,)),
    events.DEFERRED: ("Not the end: another look or call follows at retry_at.", (data.DEFERRED,)),
    events.DELIVERED: (
        "After `sent`: the message is on the handset. With a subject where it is a command's.",
        _receipts(events.DELIVERED),
    ),
    events.UNDELIVERED: (
        "After `sent`: the message can't be delivered. With a subject where it is a command's.",
        _receipts(events.UNDELIVERED),
    ),
    events.INBOUND_RECEIVED: ("An SMS has come in.", (data.RECEIVED,)),
    events.OUTBOUND_SYNCED: (
        "An SMS has gone out from the account, by the bridge or from elsewhere.",
        (data.SYNCED,),
    ),
    events.SUBSCRIPTION_CANCELLED: ("The provider has ended a subscription.", (data.CANCELLED,)),
    events.MESSAGE_EVENT: ("Something has happened to a message.", (data.MESSAGE_EVENT,)),
    events.NOTIFICATION_UNRECOGNIZED: (
        "The provider has sent a notification of no known kind.",
        (data.UNRECOGNIZED,),
    ),
}
#: The types that belong to a command, always or, like these, where they can.
_SOMETIMES_OURS = frozenset({events.INVALID, events.DELIVERED, events.UNDELIVERED})
_OURS = events.TERMINAL | _SOMETIMES_OURS | {events.DEFERRED}

_SUBJECT = "The command's id; also the AMQP correlation_id."


def _envelope(type_: str) -> Shape:
    """Return the event but for its data: CloudEvents 1.0.2 section 3.1, and its extension for tracing."""
    keys = [
        Key("specversion", constant("1.0"), "The version of CloudEvents."),
        Key("id", UUID5, "The same for the same event, however often it comes: drop those you have seen."),
        Key("type", constant(type_), "Also the routing key, and the AMQP type."),
        Key(
            "source",
            {"type": "string", "pattern": "^/sms-bridge/."},
            "Which bridge: /sms-bridge/ and its prefix.",
        ),
        Key(
            "time",
            TIME,
            "When it was recorded, or the notification's own time: RFC 3339 in UTC, to the millisecond.",
        ),
        Key("datacontenttype", constant("application/json"), "What `data` is."),
    ]
    if type_ in _OURS:
        keys.append(Key("subject", TEXT, _SUBJECT, required=type_ not in _SOMETIMES_OURS))
    trace = "The W3C trace context of what it comes of."
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
    key = Key("data", content, "What happened.")
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
        # AMQP 0-9-1 section 4.2.5.3: a short string holds no more. An id of 128 characters may take four times as many.
        meaning = "The event's subject, where that takes no more than 255 bytes."
        keys.append(Key("correlation_id", TEXT, meaning, required=False))
    return Shape("AMQP basic properties of the event.", (*keys, _CONTENT_TYPE, _PERSISTENT))


#: A reply's are the event's, but for what ties it to its command: that is what the command asked for.
REPLY_PROPERTIES = Shape(
    "AMQP basic properties of the reply.",
    (
        Key("message_id", UUID5, "The event's id."),
        Key("type", STRING, "The event's type."),
        Key("correlation_id", ANY, "The command's correlation_id, where it has one.", required=False),
        _CONTENT_TYPE,
        _PERSISTENT,
    ),
)
