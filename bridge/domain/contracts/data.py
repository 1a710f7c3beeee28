"""The contract of an event's `data`, for each type of event (SPEC section 3.2)."""

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
    "The reason of the outcome.",
    (
        Key(
            "name",
            TEXT,
            "The kind of error, such as serviceException, policyException, http, network, timeout, invalid, "
            "conflict, expired or ambiguous.",
        ),
        Key("exception_id", STRING, "The provider's error code, such as SVC0002 or POL1009.", nullable=True),
        Key("message", STRING, "A description. May contain phone numbers.", nullable=True),
        Key("http_status", {"type": "integer"}, "The HTTP status of the provider's response.", nullable=True),
    ),
)
_ERROR = Key("error", ERROR, ERROR.meaning)

OUTCOME = Shape(
    "A submission: one message to one destination.",
    (
        Key("command_id", STRING, "The command's id."),
        Key("index", COUNT, "The index of the destination in the command, from 0."),
        Key(
            "destination_address",
            TEXT,
            "The recipient in E.164, or as in the command if it has no E.164 form.",
        ),
        Key(
            "sender_address", TEXT, 'The number that the provider sent from, or "default" if it is not known.'
        ),
        Key("message", TEXT, "The text of the SMS."),
        Key("delivery_status", STRING, "The delivery status, as the provider spells it.", nullable=True),
        Key("message_id", STRING, "The provider's id of the message.", nullable=True),
        Key("attempts", COUNT, "The number of calls to the provider."),
        Key("segments", {"type": "integer", "minimum": 1}, "The number of SMS segments of the text."),
        Key("reconciled", BOOLEAN, "Whether the outcome was found by reconciliation, after the call."),
        Key("metadata", STRINGS, "The command's metadata.", nullable=True),
        replace(_ERROR, nullable=True),
    ),
)


def _with(shape: Shape, *keys: Key) -> Shape:
    """Return a shape with the given keys in place of those with the same names."""
    others = {key.name: key for key in keys}
    return replace(shape, keys=tuple(others.get(key.name, key) for key in shape.keys))


#: An outcome that has a reason.
ENDED_BADLY = _with(OUTCOME, _ERROR)
#: Of a command that cannot be parsed only the id and the metadata are known, if it has them.
_OF_THE_INVALID: dict[str, Schema] = {"attempts": constant(0), "reconciled": BOOLEAN}
INVALID = Shape(
    "An invalid command.",
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
    ENDED_BADLY,
    keys=(*ENDED_BADLY.keys, Key("retry_at", TIME, "The time of the next call or history lookup.")),
)

_RECOVERED = Key(
    "recovered",
    BOOLEAN,
    "Whether backfill found it in the provider's history because no webhook delivered it.",
)


def _stamp(kind: str) -> tuple[Key, ...]:
    return (
        Key("notification_id", ANY, "The notification's id, unchanged: a string, or null if it has none."),
        Key(
            "notification_date_time",
            ANY,
            "The notification's time, unchanged: seconds or ms since the epoch.",
        ),
        Key("type", constant(kind), "The kind of notification, spelled as in the provider's SDKs."),
    )


#: The contract does not restrict the provider's values: they are passed on unchanged.
MESSAGE_KEYS = (
    Key("date_time", ANY, "The time of sending, unchanged: seconds or ms since the epoch, or null."),
    Key("destination_address", ANY, "The recipient, unchanged: a string or null."),
    Key("message", ANY, "The text of the SMS, unchanged: a string or null."),
    Key("message_id", ANY, "The provider's id of the message, unchanged: a string or null."),
    Key("sender_address", ANY, "The sender, unchanged: a string or null."),
)


def _message(kind: str, meaning: str) -> Shape:
    return Shape(
        f"{meaning} The provider's other fields follow, in snake_case or camelCase like the rest.",
        (*MESSAGE_KEYS, *_stamp(kind), _RECOVERED),
        mixed=True,
    )


RECEIVED = _message("inbound", "An SMS to one of the account's numbers.")
SYNCED = _message("outbound", "An SMS from the account.")
CANCELLED = Shape(
    "A subscription that the provider has cancelled.",
    (
        Key("subscription_id", STRING, "The subscription's id, if the provider names it.", nullable=True),
        *_stamp("subscriptionCancel"),
        _RECOVERED,
    ),
)
MESSAGE_EVENT = Shape(
    "A change of a message.",
    (
        Key("message_id", STRING, "The provider's id of the message, if it is named.", nullable=True),
        *_stamp("event"),
        Key(
            "event_details",
            Shape(
                "The change.",
                (
                    Key("description", ANY, "A description, unchanged: a string or null."),
                    Key("type", ANY, "The type, such as MessageDeleted, unchanged: a string or null."),
                ),
            ),
            "The change.",
        ),
        _RECOVERED,
    ),
)
UNRECOGNIZED = Shape(
    "A notification of an unknown kind.",
    (
        Key("raw", {"type": "object"}, "The whole notification, unchanged and in its original spelling."),
        _RECOVERED,
    ),
)


def receipt(status: str) -> Shape:
    """Return the data of a receipt for a message that the ledger does not know as `sent`."""
    return Shape(
        "A receipt for a message that the bridge does not know as sent.",
        (
            Key("destination_address", ANY, "The recipient, unchanged: a string or null."),
            Key("message_id", ANY, "The provider's id of the message, unchanged: a string or null."),
            Key("delivery_status", constant(status), "The final delivery status."),
            *_stamp("deliveryInfo"),
            _RECOVERED,
        ),
    )


def stored_event(status: str) -> Shape:
    """Return the data of a receipt for a submission of the ledger: the outcome's data with the new status."""
    return _with(OUTCOME, Key("delivery_status", constant(status), "The final delivery status."))
