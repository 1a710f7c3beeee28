"""What stands in `data` of each kind of event (SPEC section 3.2)."""

from __future__ import annotations

from dataclasses import replace

from bridge.domain.contracts.shapes import (
    ANY,
    BOOLEAN,
    COUNT,
    NULL,
    STRING,
    STRINGS,
    TEXT,
    TIME,
    Key,
    Schema,
    Shape,
    constant,
)

ERROR = Shape(
    "What went wrong.",
    (
        Key(
            "name",
            TEXT,
            "Where it comes from, such as serviceException, policyException, http, network, timeout, invalid, "
            "conflict, expired or ambiguous.",
        ),
        Key("exception_id", STRING, "The provider's code, such as SVC0002 or POL1009.", nullable=True),
        Key("message", STRING, "In words. May name numbers.", nullable=True),
        Key("http_status", {"type": "integer"}, "The status that was answered.", nullable=True),
    ),
)
_ERROR = Key("error", ERROR, ERROR.meaning)

OUTCOME = Shape(
    "A submission: one message to one destination.",
    (
        Key("command_id", STRING, "The command's id."),
        Key("index", COUNT, "Which of the command's destinations this is about, from 0."),
        Key("destination_address", TEXT, "E.164 where it can be told, else the national number as it was."),
        Key("sender_address", TEXT, 'The number it was really sent from; "default" where nobody knows it.'),
        Key("message", TEXT, "The text."),
        Key("delivery_status", STRING, "The provider's word for it, as it came.", nullable=True),
        Key("message_id", STRING, "The provider's id of the message.", nullable=True),
        Key("attempts", COUNT, "How many calls were made."),
        Key("segments", {"type": "integer", "minimum": 1}, "In how many parts it goes over the air."),
        Key("reconciled", BOOLEAN, "Whether what became of it was found out afterwards."),
        Key("metadata", STRINGS, "As the command has it.", nullable=True),
        replace(_ERROR, nullable=True),
    ),
)


def _with(shape: Shape, *keys: Key) -> Shape:
    """Return a shape with some of its keys in place of its own."""
    others = {key.name: key for key in keys}
    return replace(shape, keys=tuple(others.get(key.name, key) for key in shape.keys))


#: An outcome that has a reason.
ENDED_BADLY = _with(OUTCOME, _ERROR)
#: Nothing is known of what can't be read but its id and metadata, where it had any.
_OF_THE_INVALID: dict[str, Schema] = {"attempts": constant(0), "reconciled": BOOLEAN}
INVALID = Shape(
    "A command that is none.",
    tuple(
        replace(key, nullable=True)
        if key.name in {"command_id", "metadata"}
        else _ERROR
        if key.name == _ERROR.name
        else replace(key, type=_OF_THE_INVALID.get(key.name, NULL), nullable=False)
        for key in OUTCOME.keys
    ),
)
DEFERRED = replace(
    ENDED_BADLY, keys=(*ENDED_BADLY.keys, Key("retry_at", TIME, "When another look or call follows."))
)

_RECOVERED = Key(
    "recovered",
    BOOLEAN,
    "Whether no webhook brought it and it was found in the provider's history instead.",
)


def _stamp(kind: str) -> tuple[Key, ...]:
    return (
        Key(
            "notification_id", ANY, "The notification's own id, as it came: a string; null where it has none."
        ),
        Key("notification_date_time", ANY, "When it was made, as it came: seconds or ms since the epoch."),
        Key("type", constant(kind), "The notification's kind, as the provider's SDKs have it."),
    )


#: What the provider's own values are is not ours to promise: they are handed on as they came.
MESSAGE_KEYS = (
    Key("date_time", ANY, "When it was sent, as it came: seconds or ms since the epoch; may be null."),
    Key("destination_address", ANY, "To whom, as it came: a string; may be null."),
    Key("message", ANY, "The text, as it came: a string; may be null."),
    Key("message_id", ANY, "The provider's id of the message, as it came: a string; may be null."),
    Key("sender_address", ANY, "From whom, as it came: a string; may be null."),
)


def _message(kind: str, meaning: str) -> Shape:
    return Shape(
        f"{meaning} What else the provider says of it is here too, in snake_case or camelCase as the rest.",
        (*MESSAGE_KEYS, *_stamp(kind), _RECOVERED),
        mixed=True,
    )


RECEIVED = _message("inbound", "An SMS to one of the account's numbers.")
SYNCED = _message("outbound", "An SMS from the account.")
CANCELLED = Shape(
    "A subscription that the provider has ended.",
    (
        Key("subscription_id", STRING, "Its id, where it is named.", nullable=True),
        *_stamp("subscriptionCancel"),
        _RECOVERED,
    ),
)
MESSAGE_EVENT = Shape(
    "Something that happened to a message.",
    (
        Key("message_id", STRING, "The provider's id of the message, where it is named.", nullable=True),
        *_stamp("event"),
        Key(
            "event_details",
            Shape(
                "What happened.",
                (
                    Key("description", ANY, "In words, as it came: a string; may be null."),
                    Key("type", ANY, "Such as MessageDeleted, as it came: a string; may be null."),
                ),
            ),
            "What happened.",
        ),
        _RECOVERED,
    ),
)
UNRECOGNIZED = Shape(
    "A notification that is none of the known ones.",
    (Key("raw", {"type": "object"}, "All of it, untouched and in its own spelling."), _RECOVERED),
)


def receipt(status: str) -> Shape:
    """Return the data of a receipt for a message that the ledger does not know as `sent`."""
    return Shape(
        "A receipt for a message that the bridge does not know as sent.",
        (
            Key("destination_address", ANY, "To whom, as it came: a string; may be null."),
            Key("message_id", ANY, "The provider's id of the message, as it came: a string; may be null."),
            Key("delivery_status", constant(status), "What became of it."),
            *_stamp("deliveryInfo"),
            _RECOVERED,
        ),
    )


def stored_event(status: str) -> Shape:
    """Return the data of a receipt for a message of ours: its outcome's, with the new status."""
    return _with(OUTCOME, Key("delivery_status", constant(status), "What became of it."))
