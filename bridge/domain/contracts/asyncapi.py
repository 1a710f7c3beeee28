"""The AsyncAPI document: channels, operations and messages, as a bridge with these names has them (AsyncAPI 3.0.0).

The bindings of AMQP have no place for basic properties: those stand in the extension `x-amqp-properties`, as a schema.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bridge.domain import events
from bridge.domain.contracts import commands, examples
from bridge.domain.contracts.channels import BINDING, DEAD_LETTER, channels, operations
from bridge.domain.contracts.documents import COMMAND, DEAD_LETTER_HEADERS, REPLY, VERSION, schemas
from bridge.domain.contracts.events import REPLY_PROPERTIES, TYPES, event_properties
from bridge.domain.contracts.examples import make_examples
from bridge.domain.contracts.shapes import Schema, Shape, Spelling

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.domain.contracts.examples import Examples
    from bridge.domain.contracts.names import Names
    from bridge.domain.messages import Outgoing

_PLAIN = Spelling()


def asyncapi_document(names: Names, *, camel_case: bool) -> Schema:
    """Return the document."""
    made = make_examples(names, camel_case=camel_case)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "SMS Bridge",
            "version": VERSION,
            "description": (
                "Commands to send SMS, and the events that tell what became of them and what came in. An event may "
                "come more than once, byte for byte the same: drop ids that you have seen. Ignore keys and types that "
                "you do not know: new ones are no new major version."
            ),
        },
        "defaultContentType": events.CONTENT_TYPE,
        "servers": {
            "broker": {
                "host": "{host}",
                "protocol": "amqp",
                "protocolVersion": "0.9.1",
                "description": "RabbitMQ.",
                "variables": {"host": {"default": "localhost:5672"}},
            }
        },
        "channels": channels(names),
        "operations": operations(),
        "components": {
            "messages": _messages(made),
            "schemas": _schemas(Spelling(camel_case=camel_case)),
        },
    }


def _messages(made: Examples) -> Schema:
    told = {
        type_: _message(
            type_,
            TYPES[type_][0],
            properties=event_properties(type_),
            examples=[_example(made.events[type_])],
            bindings={"amqp": {"messageType": type_, "bindingVersion": BINDING}},
        )
        for type_ in TYPES
    }
    command = _message(
        COMMAND,
        commands.COMMAND.meaning,
        properties=commands.PROPERTIES,
        headers=_PLAIN.schema(commands.HEADERS),
        examples=[{"payload": examples.COMMAND, "headers": examples.COMMAND_HEADERS}],
        contentType="application/json",
    )
    letter = {"payload": examples.COMMAND, "headers": examples.letter_headers(made.dead_letter)}
    return {
        COMMAND: command,
        **told,
        REPLY: _message(
            REPLY,
            "An outcome, as the reply that a command asked for.",
            properties=REPLY_PROPERTIES,
            examples=[_example(made.reply)],
        ),
        DEAD_LETTER: {
            **_message(
                DEAD_LETTER,
                "A command, byte for byte and with its own properties and headers, and why it is dead.",
                properties=commands.PROPERTIES,
                headers={"$ref": f"#/components/schemas/{DEAD_LETTER_HEADERS}"},
                examples=[letter],
                contentType="application/json",
            ),
            # What is no command at all is a dead letter, too.
            "payload": {
                "description": "The command as it was: JSON where it is one, any bytes where it is invalid."
            },
        },
    }


def _message(
    name: str, meaning: str, *, properties: Shape, examples: list[dict[str, object]], **others: object
) -> Schema:
    return {
        "name": name,
        "title": name,
        "summary": meaning,
        "contentType": events.CONTENT_TYPE,
        "payload": {"$ref": f"#/components/schemas/{name}"},
        **others,
        "examples": examples,
        "x-amqp-properties": _PLAIN.schema(properties),
    }


def _schemas(spelling: Spelling) -> Mapping[str, Schema]:
    """Return the schemas as components: what the reply has in `$defs` is one of them already."""
    written = dict(schemas(spelling))
    reply = written[REPLY]
    outcomes = reply.pop("$defs")
    if not isinstance(outcomes, dict):
        raise TypeError("$defs is an object")
    reply["anyOf"] = [{"$ref": f"#/components/schemas/{type_}"} for type_ in outcomes]
    return written


def _example(message: Outgoing) -> dict[str, object]:
    return {"payload": json.loads(message.body)}
