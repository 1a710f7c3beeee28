"""What a death adds to the headers of a command on the dead-letter queue (SPEC section 3.3)."""

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
    "Headers of a dead letter, beside the command's own. A command that ends every worker that decides its outcome "
    "may be there with the broker's x-death instead.",
    (
        Key(
            OUTCOME,
            {"type": "string", "enum": sorted(type_.rpartition(".")[2] for type_ in events.DEAD_LETTERS)},
            "How the submission ended: the last word of the event's type.",
        ),
        Key(REASON, STRING, "Why: names fields and codes, never a number or a text."),
        Key(COMMAND_ID, STRING, "The command's id, where it has one.", required=False),
        Key(INDEX, COUNT, "Which destination; absent where it is about all of them.", required=False),
        Key(ATTEMPTS, COUNT, "How many calls were made."),
        Key(EVENT_ID, UUID5, "The id of the event that told the outcome."),
        Key(DEAD_AT, TIME, "When the dead letter was made."),
    ),
    mixed=True,
)
