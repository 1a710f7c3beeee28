"""What services send and get where they hand commands over by HTTP (docs/messages.md); the command itself aside."""

from __future__ import annotations

from dataclasses import replace

from bridge.domain import events
from bridge.domain.contracts.commands import MAX_ID_LENGTH
from bridge.domain.contracts.data import OUTCOME
from bridge.domain.contracts.shapes import COUNT, STRING, TEXT, TIME, UUID5, Key, Schema, Shape, Spelling
from bridge.domain.ledger.records import ATTEMPTING, DOUBTFUL, WAITING
from bridge.domain.outcomes import Outcome

#: Where commands are posted to; behind it and a slash stands the id of one that is asked for.
PATH = "/v1/messages"

ID: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH}
#: RFC 9651 section 3.3.3, or the same without its quotes where nothing in it needs them.
KEY: Schema = {
    "type": "string",
    "pattern": (
        f'^("([ !#-\\[\\]-~]|\\\\["\\\\]){{1,{MAX_ID_LENGTH}}}"|[!#-+\\-.-:<-\\[\\]-~]{{1,{MAX_ID_LENGTH}}})$'
    ),
}

#: What of an outcome's `data` its command says itself. It is shown to nobody: others may know its id.
SAID = frozenset({"message", "metadata"})
_DATA = replace(OUTCOME, keys=tuple(key for key in OUTCOME.keys if key.name not in SAID))

QUEUED = Shape("A command that is on the queue.", (Key("id", ID, "What it is known by."),))
SUBMISSION = Shape(
    "One message to one destination, as the ledger has it.",
    (
        Key("index", COUNT, "Which of the command's destinations this is about, from 0."),
        Key(
            "state",
            {"type": "string", "enum": [WAITING, ATTEMPTING, DOUBTFUL, *(one.value for one in Outcome)]},
            "Open while it is waiting, attempting, or doubtful, when it may have been sent; else its outcome.",
        ),
        Key("attempts", COUNT, "How many calls were made."),
        Key("first_attempt_at", TIME, "When the first of them was made.", nullable=True),
        Key("retry_at", TIME, "When another look or call follows.", nullable=True),
        Key("message_id", STRING, "The provider's id of the message.", nullable=True),
        Key("replay", COUNT, "How often its dead letter was sent back."),
    ),
)
STATE = Shape(
    "How far a command is, as the ledger has it.",
    (
        Key("id", ID, "What it is known by."),
        Key("created_at", TIME, "When a worker first took it up."),
        Key("updated_at", TIME, "When something last happened to it."),
    ),
)
ERROR = Shape(
    "One thing that is wrong.",
    (
        Key("pointer", TEXT, "Which field, spelt in snake_case: a JSON Pointer as a URI fragment."),
        Key("detail", TEXT, "Why. Never says what was given."),
    ),
)
PROBLEM = Shape(
    "What is wrong, in words of the bridge (RFC 9457); nothing that was sent is in it.",
    (
        Key("status", {"type": "integer"}, "The status that is answered."),
        Key("title", TEXT, "What that is called."),
        Key("detail", TEXT, "What is the matter.", required=False),
    ),
)


def problem_schema() -> Schema:
    """Return the schema of whatever is answered that is no success."""
    errors: Schema = {"type": "array", "minItems": 1, "items": Spelling(closed=True).schema(ERROR)}
    several = Key(
        "errors", errors, "All that is wrong with the command, where that is the matter.", required=False
    )
    return Spelling(closed=True).schema(replace(PROBLEM, keys=(*PROBLEM.keys, several)))


def state_schema(spelling: Spelling) -> Schema:
    """Return the schema of what is shown of a command; `spelling` is that of an event's `data`."""
    outcome = Spelling().schema(
        Shape(
            "The event that told the outcome, without what the command says itself. Null while there is none.",
            (
                Key("id", UUID5, "The event's id."),
                Key("type", {"type": "string", "enum": sorted(_TYPES)}, "The event's type."),
                Key("time", TIME, "When it was filed."),
                Key("data", spelling.schema(_DATA), "What became of it."),
            ),
        )
    )
    told = Key("outcome", outcome, "What became of it.", nullable=True)
    one = Spelling().schema(replace(SUBMISSION, keys=(*SUBMISSION.keys, told)))
    all_of_them: Schema = {"type": "array", "items": one}
    return Spelling().schema(
        replace(
            STATE,
            keys=(
                *STATE.keys,
                Key(
                    "submissions",
                    all_of_them,
                    "In the order of the destinations, as far as a worker has taken them up.",
                ),
            ),
        )
    )


#: An invalid command is not in the ledger.
_TYPES = events.TERMINAL - {events.INVALID}
