"""Deduplication of events by id: an event may be delivered more than once."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from bridge.client.arguments import count

#: Ids that are remembered, about 200 bytes each.
REMEMBERED = 100_000


class SeenEvents(Protocol):
    """Remembers handled events. Use your database if ids must survive a restart.

    Both are called on the consumer's thread, `has` before the handler and `add` after it, before the event is acked.
    Their exceptions count as the handler's. A handler that writes to a database itself does best to write the
    event's id in the same transaction; then `has` reads it there, and `add` has nothing left to do.
    """

    def has(self, event_id: str) -> bool:
        """Whether an event was handled."""
        ...

    def add(self, event_id: str) -> None:
        """Remember that an event was handled; it may be remembered already."""
        ...


class SeenInMemory:
    """Remembers the latest ids in memory: it catches early repeats within one process."""

    def __init__(self, most: int = REMEMBERED) -> None:
        """`most`: ids; the one that was handled longest ago goes first."""
        self._most = count("most", most)
        self._ids: OrderedDict[str, None] = OrderedDict()

    def has(self, event_id: str) -> bool:
        """Whether an event was handled, not too long ago."""
        return event_id in self._ids

    def add(self, event_id: str) -> None:
        """Remember an event, and forget the oldest where there are too many."""
        self._ids[event_id] = None
        self._ids.move_to_end(event_id)
        if len(self._ids) > self._most:
            self._ids.popitem(last=False)
