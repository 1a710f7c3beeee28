"""The contract of dead letters: the headers that the bridge adds to the command's own (SPEC section 3.3)."""

from __future__ import annotations

from bridge.domain import events
from bridge.domain.contracts.shapes import COUNT, STRING, TIME, UUID5, Key, Shape

OUTCOME = "x-bridge-outcome"
REASON = "x-bridge-reason"
COMMAND_ID = "x-bridge-command-id"
INDEX = "x-bridge-index"
ATTEMPTS = "x-bridge-attempts"
EVENT_ID = "x-bridge-event-id"
DEAD_AT = "x-bridge-dead-at"

HEADERS = Shape(
    "Headers of a dead letter, added to the command's own. A command that crashes every worker that decides its "
    "outcome may have the broker's x-death instead.",
    (
        Key(
            OUTCOME,
            {"type": "string", "enum": sorted(type_.rpartition(".")[2] for type_ in events.DEAD_LETTERS)},
            "The outcome of the submission: the last part of the event's type.",
        ),
        Key(REASON, STRING, "The reason. It names fields and codes, and never contains a number or a text."),
        Key(COMMAND_ID, STRING, "The command's id, if it has one.", required=False),
        Key(
            INDEX,
            COUNT,
            "The destination's index, from 0; absent if it is about all of them.",
            required=False,
        ),
        Key(ATTEMPTS, COUNT, "The number of calls to the provider."),
        Key(EVENT_ID, UUID5, "The id of the event with the outcome."),
        Key(DEAD_AT, TIME, "The time at which the dead letter was made."),
    ),
    mixed=True,
)
