"""The contract of commands: body, headers and AMQP properties (SPEC section 3.1)."""

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

#: The routing key of the command queue's binding.
SEND = "send"
#: The path for POST of commands; `{path}/{id}` shows one command.
SUBMIT_PATH = "/v1/messages"
#: Characters.
MAX_ID_LENGTH = 128
#: The headers of a replayed dead letter: the id of the event with its outcome, and whether an `unknown` submission is
#: sent again.
REPLAY = "x-bridge-replay"
RESEND = "x-bridge-resend"

#: The forms of an address (SPEC section 5). The schema does not check whether a country has such a number.
_ADDRESS: Schema = {
    "type": "string",
    "pattern": "^([+][0-9]+|[0-9]{3,18}"
    "|[Tt][Ee][Ll]:[+][-.()]*[0-9][-.()0-9]*"
    "|[Ss][Ii][Pp]:([+][0-9]+|[0-9]{3,18})@[A-Za-z0-9][A-Za-z0-9.-]{0,252})$",
    "maxLength": 300,
}
#: RFC 3339 section 5.6.
_TIME: Schema = {"type": "string", "format": "date-time"}

#: `null` means that the field is not set, so all optional fields may be null. `_NEEDED` is required in either spelling.
COMMAND = Shape(
    "A request to send one SMS to each destination. Unknown keys are ignored, or make the command invalid if "
    "commands.unknown_fields is set to reject. null means that the field is not set.",
    (
        Key(
            "id",
            {"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH},
            "The idempotency key, chosen by the caller: two commands with the same id are one command. Required here "
            "or as the AMQP message_id; this field takes precedence. Printable characters.",
            required=False,
            nullable=True,
        ),
        Key("type", constant("sms"), "The kind of message.", required=False, nullable=True),
        Key(
            "destination_address",
            {"anyOf": [_ADDRESS, {"type": "array", "minItems": 1, "items": _ADDRESS}]},
            "The recipient: an address, or an array of up to 100 (configurable), no duplicates. Each gets one outcome.",
            required=False,
            nullable=True,
        ),
        Key(
            "sender_address",
            {"anyOf": [_ADDRESS, constant("default")]},
            'The sender: a number of the account, or "default" for the number that the provider chooses.',
            required=False,
            nullable=True,
        ),
        Key("message", TEXT, "The text of the SMS."),
        Key(
            "send_at",
            _TIME,
            "The earliest time to send: RFC 3339 with an offset, at most 30 days ahead.",
            required=False,
            nullable=True,
        ),
        Key(
            "expires_at",
            _TIME,
            "The latest time to send: RFC 3339 with an offset, after send_at. After it the outcome is `expired`.",
            required=False,
            nullable=True,
        ),
        Key("metadata", STRINGS, "Copied to every event of this command.", required=False, nullable=True),
    ),
)
#: The key that is required in one of the two spellings.
_NEEDED = "destination_address"

HEADERS = Shape(
    "Headers of a command. Other headers are kept and have no effect.",
    (
        Key(
            "traceparent",
            TRACEPARENT,
            "The W3C trace context, passed on to the provider and to the events.",
            required=False,
        ),
        Key(
            REPLAY,
            UUID5,
            "Marks a replayed dead letter: the id of the event with its outcome. `bridge dead replay` sets it.",
            required=False,
        ),
        Key(
            RESEND,
            BOOLEAN,
            "With x-bridge-replay: whether an `unknown` submission is sent again if its history lookup finds nothing.",
            required=False,
        ),
    ),
)
PROPERTIES = Shape(
    "AMQP basic properties of a command (AMQP 0-9-1 section 1.8). Publish with mandatory and publisher confirms.",
    (
        Key("message_id", STRING, "The command's id if the body has none.", required=False),
        Key("reply_to", STRING, "A queue to which each outcome is also published.", required=False),
        Key("correlation_id", ANY, "Copied to each reply.", required=False),
        Key("content_type", STRING, "Ignored; use application/json.", required=False),
        Key(
            "delivery_mode",
            constant(2),
            "Persistent, so that it survives a restart of the broker.",
            required=False,
        ),
    ),
)


def command_schema(*, closed: bool = False) -> Schema:
    """Return the schema of a command, whose keys may have either spelling."""
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
