"""The command, as others put it on the broker (SPEC section 3.1)."""

from __future__ import annotations

from bridge.domain.contracts.shapes import (
    ANY,
    BOOLEAN,
    STRING,
    STRINGS,
    TEXT,
    TRACEPARENT,
    UUID5,
    Key,
    Schema,
    Shape,
    Spelling,
    constant,
)
from bridge.domain.events import camel

#: The routing key that the command queue is bound with.
SEND = "send"
#: Where commands are posted to over HTTP; behind it and a slash stands the id of one that is asked for.
SUBMIT_PATH = "/v1/messages"
#: Characters.
MAX_ID_LENGTH = 128
#: The headers of a dead letter that was sent back: the event that told its outcome, and whether to send it anew even
#: where nobody could tell whether it was sent.
REPLAY = "x-bridge-replay"
RESEND = "x-bridge-resend"

#: What is no address is none of these (SPEC section 5); whether a number is one of any country is not to be said here.
_ADDRESS: Schema = {
    "type": "string",
    "pattern": "^([+][0-9]+|[0-9]{3,18}"
    "|[Tt][Ee][Ll]:[+][-.()]*[0-9][-.()0-9]*"
    "|[Ss][Ii][Pp]:([+][0-9]+|[0-9]{3,18})@[A-Za-z0-9][A-Za-z0-9.-]{0,252})$",
    "maxLength": 300,
}
#: RFC 3339 section 5.6.
_TIME: Schema = {"type": "string", "format": "date-time"}

#: `null` is as good as absent, so whatever is not needed may be null. What is needed in either spelling is `_NEEDED`.
COMMAND = Shape(
    "A request to send one SMS to each destination. Keys that are not here are ignored, or make it invalid where "
    "commands.unknown_fields says so; null is absent.",
    (
        Key(
            "id",
            {"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH},
            "The idempotency key, yours to choose: two commands with one id are one command. Needed here or as the "
            "AMQP message_id; this one wins. Printable characters.",
            required=False,
            nullable=True,
        ),
        Key("type", constant("sms"), "What to send.", required=False, nullable=True),
        Key(
            "destination_address",
            {"anyOf": [_ADDRESS, {"type": "array", "minItems": 1, "items": _ADDRESS}]},
            "To whom: an address, or up to 100 (as configured), none twice. Each ends in one outcome.",
            required=False,
            nullable=True,
        ),
        Key(
            "sender_address",
            {"anyOf": [_ADDRESS, constant("default")]},
            'From whom: a number of the account, or "default" for the one that the provider chooses.',
            required=False,
            nullable=True,
        ),
        Key("message", TEXT, "The text."),
        Key(
            "send_at",
            _TIME,
            "Not before this: RFC 3339 with an offset, at most 30 days ahead.",
            required=False,
            nullable=True,
        ),
        Key(
            "expires_at",
            _TIME,
            "Not after this: RFC 3339 with an offset, after send_at. The outcome is `expired` then.",
            required=False,
            nullable=True,
        ),
        Key("metadata", STRINGS, "Echoed on every event of this command.", required=False, nullable=True),
    ),
)
#: What one of the two spellings has to give.
_NEEDED = "destination_address"

HEADERS = Shape(
    "Headers of a command. All others are kept and mean nothing.",
    (
        Key(
            "traceparent",
            TRACEPARENT,
            "W3C trace context, carried on to the provider and to the events.",
            required=False,
        ),
        Key(
            REPLAY,
            UUID5,
            "Sends a dead letter back: the id of the event that told its outcome. `bridge dead replay` sets it.",
            required=False,
        ),
        Key(
            RESEND,
            BOOLEAN,
            "With x-bridge-replay: whether to send what is `unknown` anew where reconciling finds nothing.",
            required=False,
        ),
    ),
)
PROPERTIES = Shape(
    "AMQP basic properties of a command (AMQP 0-9-1 section 1.8). Publish it mandatory, and wait for the confirm.",
    (
        Key("message_id", STRING, "Stands in where the body has no id.", required=False),
        Key("reply_to", STRING, "A queue that each outcome is sent to as well.", required=False),
        Key("correlation_id", ANY, "Comes back with each reply.", required=False),
        Key("content_type", STRING, "Not looked at; application/json is a good one.", required=False),
        Key("delivery_mode", constant(2), "Persistent: what is not is lost with the broker.", required=False),
    ),
)


def command_schema(*, closed: bool = False) -> Schema:
    """Return the schema of a command, which is taken in either spelling of its keys."""
    spelling = Spelling(closed=closed)
    written = spelling.schema(COMMAND)
    snake = written["properties"]
    other = Spelling(camel_case=True).schema(COMMAND)["properties"]
    if not isinstance(snake, dict) or not isinstance(other, dict):
        raise TypeError("the properties of a schema are an object")
    written["properties"] = {**snake, **other}
    written["anyOf"] = [
        {"required": [name], "properties": {name: {"type": ["string", "array"]}}}
        for name in (_NEEDED, camel(_NEEDED))
    ]
    return written
