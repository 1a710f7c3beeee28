"""What all connections of a server have in common: how many there may be, their deadlines, what is logged of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable
from typing import TYPE_CHECKING, Protocol

import structlog

from bridge.adapters.deadlines import Deadlines
from bridge.adapters.http.answers import Answer, Dates, problem

if TYPE_CHECKING:
    from bridge.adapters.http.serving import Bind

#: Connections beyond the limit that are answered 503, once their requests are read. Still more are closed on.
ANSWERED_BEYOND = 100
#: Seconds after which such a client may come again.
_COME_AGAIN = 5
#: Seconds between two lines about the same thing: whoever likes can send what is not HTTP.
_LINES_EVERY = 60.0
_FULL = problem(503, {"retry-after": str(_COME_AGAIN)}, closes=True)


class Guest(Hashable, Protocol):
    """A connection as the house sees it."""

    def overdue(self) -> None:
        """Give up on what did not come in time."""
        ...

    def finish(self) -> None:
        """Answer what is asked, and no more."""
        ...

    def give_up(self) -> None:
        """End, with a word to who still waits."""
        ...

    def abort(self) -> None:
        """End without a word."""
        ...


class House:
    """Used on the server's event loop."""

    def __init__(self, bind: Bind, name: str) -> None:
        """`name` is the server's, for the log."""
        self.head_timeout = bind.head_timeout
        self.idle_timeout = bind.idle_timeout
        self.write_timeout = bind.write_timeout
        self.connections: set[Guest] = set()
        #: Set while there are none.
        self.empty = asyncio.Event()
        self.empty.set()
        self.deadlines: Deadlines[Guest] = Deadlines(lambda guest: guest.overdue())
        self.dates = Dates()
        self._max_connections = bind.max_connections
        self._name = name
        self._told: dict[str, float] = {}

    def enter(self, connection: Guest) -> bool:
        """Count a connection, and return whether it is one that is heard."""
        self.connections.add(connection)
        self.empty.clear()
        return len(self.connections) <= self._max_connections + ANSWERED_BEYOND

    def leave(self, connection: Guest) -> None:
        """Count it no longer."""
        self.connections.discard(connection)
        self.deadlines.clear(connection)
        if not self.connections:
            self.empty.set()

    def crowded(self) -> Answer | None:
        """Return what is answered while there are too many."""
        if len(self.connections) < self._max_connections:
            return None
        self.warn("http.crowded")
        return _FULL

    def warn(self, event: str) -> None:
        """Write a line, unless there was one like it within a minute."""
        now = time.monotonic()
        if now >= self._told.get(event, now):
            self._told[event] = now + _LINES_EVERY
            structlog.get_logger().warning(event, server=self._name)
