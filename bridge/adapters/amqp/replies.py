"""How a command is put on the broker, and how its outcomes come back to who sent it (SPEC section 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.domain.strict_json import NotStrictJSON, loads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import amqp

#: Bytes of a short string (AMQP 0-9-1 section 4.2.5.3); an id of 128 characters may take four times as many.
_SHORT = 255
#: Arrays and objects inside each other: a notification has at most 64 (`bridge.domain.notifications`), an event 66.
_DEEPEST = 70


def command_properties(command_id: str, *, now: float) -> dict[str, object]:
    """Return the AMQP properties of a command; `now` is in seconds since the epoch."""
    properties: dict[str, object] = {"timestamp": int(now)}
    if len(command_id.encode()) <= _SHORT:
        properties["message_id"] = command_id
    return properties


def open_replies(channel: Any, received: Callable[[amqp.Message], None]) -> str:
    """Have `received` called with each reply on this connection; return the queue that replies go to."""
    queue = str(channel.queue_declare("", exclusive=True, auto_delete=True).queue)
    channel.basic_consume(queue, no_ack=True, callback=received)
    return queue


def read_event(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object of an event; None for anything else, since any service may publish to the exchange.

    Only `data` is known to be there, an object. Of the other attributes a foreign event may have none.
    """
    try:
        # An empty body is a `str` in py-amqp.
        event = loads(body or b"", max_depth=_DEEPEST)
    except NotStrictJSON:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("data"), dict) else None


def are_all(outcomes: Iterable[Mapping[str, Any]], destinations: int) -> bool:
    """Whether these outcomes are all of a command to so many destinations: one may speak for all of them."""
    indexes = [outcome["data"].get("index", 0) for outcome in outcomes]
    return len(indexes) >= destinations or None in indexes
