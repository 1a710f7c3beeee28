"""How an event becomes a message on the events exchange (SPEC section 3.2)."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

from bridge.domain.events import CONTENT_TYPE
from bridge.domain.messages import Outgoing

if TYPE_CHECKING:
    from bridge.domain.events import Event

#: The envelope's own `time`, which is written before `data`: quotes inside a JSON string are escaped, so
#: what stands first is never the text of somebody's SMS. No nesting of the data can exhaust this, unlike a
#: parser.
_TIME = re.compile(rb'"time":"([^"\\]+)"')


def outgoing_event(event: Event, *, exchange: str, unrouted_queue: str) -> Outgoing:
    """Return the message that tells `event` to `exchange`.

    Whatever nobody bound a queue for goes to `unrouted_queue` and counts as told. Everything about the
    message comes from the event, so an event told again is the same message, also by another process.

    Raises:
        ValueError: the body has no time, so `make_event` did not make it.

    """
    properties: dict[str, object] = {
        "message_id": event.id,
        "type": event.type,
        "timestamp": _filed(event.body),
    }
    if event.subject is not None:
        properties["correlation_id"] = event.subject
    return Outgoing(
        exchange=exchange,
        routing_key=event.type,
        body=event.body,
        content_type=CONTENT_TYPE,
        properties=properties,
        fallback=unrouted_queue,
    )


def _filed(body: bytes) -> int:
    """Return when the event was filed, in whole seconds since the epoch, as AMQP's `timestamp` has it."""
    found = _TIME.search(body)
    if found is None:
        raise ValueError("an event without a time: its body was not made by make_event")
    return int(datetime.fromisoformat(found[1].decode("ascii")).timestamp())
