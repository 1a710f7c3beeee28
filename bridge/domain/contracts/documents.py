"""The contract's JSON Schemas by name: the command, each type of event, the reply and the headers of dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.domain import events
from bridge.domain.contracts import letters
from bridge.domain.contracts.commands import command_schema
from bridge.domain.contracts.events import TYPES, event_schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.domain.contracts.shapes import Schema, Spelling

#: The contract's version. A new key or type raises the second number. Nothing is removed, renamed or
#: retyped within a major version, which is part of every schema's `$id`.
VERSION = "2.0.0"
#: JSON Schema 2020-12, Core section 8.1.1.
DIALECT = "https://json-schema.org/draft/2020-12/schema"

COMMAND = "command"
REPLY = "reply"
DEAD_LETTER_HEADERS = "dead-letter-headers"


def schemas(spelling: Spelling) -> Mapping[str, Schema]:
    """Return all schemas by name. The schema of the reply refers to the outcomes' schemas in its `$defs`."""
    outcomes = [type_ for type_ in TYPES if type_ in events.TERMINAL]
    return {
        COMMAND: command_schema(closed=spelling.closed),
        **{type_: event_schema(type_, spelling) for type_ in TYPES},
        REPLY: {
            "description": "An outcome, published to the queue that the command's reply_to names.",
            "anyOf": [{"$ref": f"#/$defs/{type_}"} for type_ in outcomes],
            "$defs": {type_: event_schema(type_, spelling) for type_ in outcomes},
        },
        DEAD_LETTER_HEADERS: spelling.schema(letters.HEADERS),
    }


def standalone(name: str, schema: Schema, spelling: Spelling, examples: list[object]) -> Schema:
    """Return a schema as a separate document (JSON Schema 2020-12, Core section 8), with examples."""
    variant = "camel-case:" if spelling.camel_case else ""
    return {
        "$schema": DIALECT,
        "$id": f"urn:sms-bridge:contract:{VERSION.partition('.')[0]}:{variant}{name}",
        "title": name,
        **schema,
        "examples": examples,
    }
