"""The AsyncAPI document: channels, operations and messages, as a bridge with these names has them (AsyncAPI 3.0.0).

It speaks as the bridge: `receive` is what the bridge takes, `send` what it publishes. Bindings are AMQP 0-9-1's,
version 0.3.0; they have no place for basic properties, so those stand in the extension `x-amqp-properties` as a schema.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bridge.core import events
from bridge.core.contracts import commands
from bridge.core.contracts.documents import COMMAND, DEAD_LETTER_HEADERS, REPLY, VERSION, schemas
from bridge.core.contracts.events import REPLY_PROPERTIES, TYPES, event_properties
from bridge.core.contracts.shapes import Schema, Shape, Spelling
from bridge.flows.contracts import examples
from bridge.flows.contracts.examples import make_examples

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bridge.flows.contracts.examples import Examples
    from bridge.flows.contracts.names import Names
    from bridge.ports import Outgoing

_BINDING = "0.3.0"
_DEAD_LETTER = "dead-letter"
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
        "channels": _channels(names),
        "operations": _operations(),
        "components": {
            "messages": _messages(made),
            "schemas": _schemas(Spelling(camel_case=camel_case)),
        },
    }


def _channels(names: Names) -> Schema:
    return {
        "commands": {
            "address": commands.SEND,
            "title": "Commands",
            "description": f"Where others publish commands. The queue {names.command_queue} is bound to it.",
            "messages": _references("components/messages", [COMMAND]),
            "bindings": _exchange(names.commands_exchange),
        },
        "commandQueue": _queue(names.command_queue, "Commands that wait; the bridge's own.", [COMMAND]),
        "events": {
            "address": "{type}",
            "title": "Events",
            "description": "Bind a queue of your own with the types you want, such as sms.outbound.* or #.",
            "parameters": {"type": {"description": "The type of the event.", "enum": list(TYPES)}},
            "messages": _references("components/messages", TYPES),
            "bindings": _exchange(names.events_exchange),
        },
        "unroutedEvents": _queue(
            names.unrouted_queue, "Events that nobody had bound a queue for; bounded, the oldest go.", TYPES
        ),
        "replies": {
            "address": None,
            "title": "Replies",
            "description": "The queue that a command's reply_to names, through the default exchange.",
            "messages": _references("components/messages", [REPLY]),
            "bindings": {
                "amqp": {
                    "is": "routingKey",
                    "exchange": {"name": "", "type": "default"},
                    "bindingVersion": _BINDING,
                }
            },
        },
        "deadLetters": _queue(names.dead_queue, "Commands that ended badly, as they were.", [_DEAD_LETTER]),
    }


def _exchange(name: str) -> Schema:
    exchange = {"name": name, "type": "topic", "durable": True, "autoDelete": False}
    return {"amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": _BINDING}}


def _queue(name: str, meaning: str, messages: Iterable[str]) -> Schema:
    queue = {"name": name, "durable": True, "exclusive": False, "autoDelete": False}
    return {
        "address": name,
        "description": meaning,
        "messages": _references("components/messages", messages),
        "bindings": {"amqp": {"is": "queue", "queue": queue, "bindingVersion": _BINDING}},
    }


def _operations() -> Schema:
    publishing = {"deliveryMode": 2, "mandatory": True, "bindingVersion": _BINDING}
    return {
        "sendSms": {
            "action": "receive",
            "title": "Take a command",
            "description": "It is acked once its outcome is told, or another copy of it stands for it.",
            "channel": {"$ref": "#/channels/commands"},
            "messages": _listed("commands", [COMMAND]),
            "bindings": {
                "amqp": {"ack": True, "deliveryMode": 2, "mandatory": True, "bindingVersion": _BINDING}
            },
            "reply": {
                "address": {
                    "description": "The AMQP property reply_to, where it is given.",
                    "location": "$message.header#/reply_to",
                },
                "channel": {"$ref": "#/channels/replies"},
                "messages": _listed("replies", [REPLY]),
            },
        },
        "tellEvent": {
            "action": "send",
            "title": "Tell an event",
            "description": "Confirmed by the broker before anything depends on it.",
            "channel": {"$ref": "#/channels/events"},
            "messages": _listed("events", TYPES),
            "bindings": {"amqp": {**publishing, "timestamp": True}},
        },
        "leaveDeadLetter": {
            "action": "send",
            "title": "Leave a dead letter",
            "description": "One for each submission that ended as invalid, rejected, failed or unknown.",
            "channel": {"$ref": "#/channels/deadLetters"},
            "messages": _listed("deadLetters", [_DEAD_LETTER]),
            "bindings": {"amqp": publishing},
        },
    }


def _messages(made: Examples) -> Schema:
    told = {
        type_: _message(
            type_,
            TYPES[type_][0],
            properties=event_properties(type_),
            examples=[_example(made.events[type_])],
            bindings={"amqp": {"messageType": type_, "bindingVersion": _BINDING}},
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
        _DEAD_LETTER: {
            **_message(
                _DEAD_LETTER,
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


def _references(where: str, names: Iterable[str]) -> Schema:
    return {name: {"$ref": f"#/{where}/{name}"} for name in names}


def _listed(channel: str, names: Iterable[str]) -> list[Schema]:
    return [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names]


def _example(message: Outgoing) -> dict[str, object]:
    return {"payload": json.loads(message.body)}
