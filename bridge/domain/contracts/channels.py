"""The channels and operations of the AsyncAPI document (AsyncAPI 3.0.0, "Channel Object" and "Operation Object").

They speak as the bridge: `receive` is what the bridge takes, `send` what it publishes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.domain.contracts import commands
from bridge.domain.contracts.documents import COMMAND, REPLY
from bridge.domain.contracts.events import TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.domain.contracts.names import Names
    from bridge.domain.contracts.shapes import Schema

#: The version of the bindings for AMQP 0-9-1.
BINDING = "0.3.0"
#: The name of the message that a dead letter is.
DEAD_LETTER = "dead-letter"


def channels(names: Names) -> Schema:
    """Return where messages go, by the names of exchanges and queues."""
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
                    "bindingVersion": BINDING,
                }
            },
        },
        "deadLetters": _queue(names.dead_queue, "Commands that ended badly, as they were.", [DEAD_LETTER]),
    }


def _exchange(name: str) -> Schema:
    exchange = {"name": name, "type": "topic", "durable": True, "autoDelete": False}
    return {"amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": BINDING}}


def _queue(name: str, meaning: str, messages: Iterable[str]) -> Schema:
    queue = {"name": name, "durable": True, "exclusive": False, "autoDelete": False}
    return {
        "address": name,
        "description": meaning,
        "messages": _references("components/messages", messages),
        "bindings": {"amqp": {"is": "queue", "queue": queue, "bindingVersion": BINDING}},
    }


def operations() -> Schema:
    """Return what the bridge does with the messages of its channels."""
    publishing = {"deliveryMode": 2, "mandatory": True, "bindingVersion": BINDING}
    return {
        "sendSms": {
            "action": "receive",
            "title": "Take a command",
            "description": "It is acked once its outcome is told, or another copy of it stands for it.",
            "channel": {"$ref": "#/channels/commands"},
            "messages": _listed("commands", [COMMAND]),
            "bindings": {
                "amqp": {"ack": True, "deliveryMode": 2, "mandatory": True, "bindingVersion": BINDING}
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
            "messages": _listed("deadLetters", [DEAD_LETTER]),
            "bindings": {"amqp": publishing},
        },
    }


def _references(where: str, names: Iterable[str]) -> Schema:
    return {name: {"$ref": f"#/{where}/{name}"} for name in names}


def _listed(channel: str, names: Iterable[str]) -> list[Schema]:
    return [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names]
