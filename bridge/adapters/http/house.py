"""What all connections of a server have in common: how many there may be, their deadlines, what is logged of them.

Connections that have asked for nothing make room for new ones: first the oldest whose first head is not complete, then
the one that has been idle for longest. Those with a request under way stay. Where all have one, some more are answered
503, and still more are closed.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Hashable
from typing import TYPE_CHECKING, Protocol

import structlog

from bridge.adapters.http.answers import Answer, Dates, problem
from bridge.adapters.http.peers import host_of
from bridge.concurrency.event_loop import Deadlines

if TYPE_CHECKING:
    from bridge.adapters.http.serving import Bind

#: Connections beyond the limit that are answered 503, once their requests are read. Still more are closed.
ANSWERED_BEYOND = 100
#: Seconds after which such a client may come again.
_COME_AGAIN = 5
#: Seconds between two lines about the same thing: any stranger can send something that is not HTTP.
_LINES_EVERY = 60.0
#: The answer while there are too many.
FULL = problem(503, {"retry-after": str(_COME_AGAIN)}, closes=True)


class Guest(Hashable, Protocol):
    """A connection as the house sees it."""

    def overdue(self) -> None:
        """Give up on what did not come in time."""
        ...

    def finish(self) -> None:
        """Answer what is asked, and no more."""
        ...

    def give_up(self) -> None:
        """End, with an answer to a request that still waits."""
        ...

    def abort(self) -> None:
        """End without a word."""
        ...


class House:
    """Used on the server's event loop."""

    def __init__(self, bind: Bind, name: str) -> None:
        """`name` is the server's, for the log."""
        self.head_timeout = bind.head_timeout
        self.keep_alive = bind.keep_alive
        #: The fields that announce it, as clients look for them (RFC 2068 section 19.7.1.1).
        self.announced = b"connection: keep-alive\r\nkeep-alive: timeout=%d\r\n" % bind.keep_alive
        self.write_timeout = bind.write_timeout
        #: Each with the client at its other end (`host_of`).
        self.connections: dict[Guest, str | None] = {}
        #: Set while there are none.
        self.empty = asyncio.Event()
        self.empty.set()
        self.deadlines: Deadlines[Guest] = Deadlines(lambda guest: guest.overdue())
        self.dates = Dates()
        self._peers = bind.peers
        self._max_connections = bind.max_connections
        self._name = name
        self._told: dict[str, float] = {}
        self._of_each: Counter[str | None] = Counter()
        #: Those whose first head is not complete, and those that have nothing to answer; each the oldest first.
        self._silent: dict[Guest, None] = {}
        self._idle: dict[Guest, None] = {}
        #: Those that came when none made room.
        self._beyond: set[Guest] = set()

    def turns_away(self, peer: str) -> bool:
        """Return whether a connection from this address is to be closed at once."""
        if self._peers.may_connect(peer):
            return False
        self._peers.turned_away(peer)
        return True

    def enter(self, connection: Guest, peer: str | None) -> bool:
        """Count a connection, and return whether it is one that is heard."""
        has_room = True
        limit = self._peers.limit(peer)
        host = host_of(peer)
        if limit and self._of_each[host] >= limit:
            self.warn("http.address_full", client=peer, hint="see max_connections_each and trusted_proxies")
            has_room = self.make_room(host)
        if len(self.connections) >= self._max_connections:
            self.warn("http.crowded")
            if not self.make_room():
                self._beyond.add(connection)
        self.connections[connection] = host
        self._of_each[host] += 1
        self._silent[connection] = None
        self.empty.clear()
        return has_room and len(self.connections) <= self._max_connections + ANSWERED_BEYOND

    def expect_head(self, connection: Guest) -> None:
        """Give a connection its time for a head."""
        self.deadlines.set(connection, asyncio.get_running_loop().time() + self.head_timeout)

    def begun(self, connection: Guest) -> Answer | None:
        """Take note of a complete head: this connection makes no room now.

        Returns what is answered to one that came when there were too many, while there are.
        """
        self._silent.pop(connection, None)
        self._idle.pop(connection, None)
        is_beyond = connection in self._beyond and len(self.connections) > self._max_connections
        return FULL if is_beyond else None

    def answered(self, connection: Guest, answer: Answer, until: float) -> None:
        """Give a connection until then for its next head; meanwhile it may make room."""
        # Those beyond are few, and have to be read.
        if answer is not FULL and connection in self.connections:
            self._idle[connection] = None
        self.deadlines.set(connection, until)

    def leave(self, connection: Guest) -> None:
        """Count it no longer."""
        if connection not in self.connections:
            return
        host = self.connections.pop(connection)
        self._of_each[host] -= 1
        if not self._of_each[host]:
            del self._of_each[host]
        self._silent.pop(connection, None)
        self._idle.pop(connection, None)
        self._beyond.discard(connection)
        self.deadlines.clear(connection)
        if not self.connections:
            self.empty.set()

    def make_room(self, host: str | None = None) -> bool:
        """Close one connection that has asked for nothing, of `host` if one is given; return whether there was one."""
        for waiting in (self._silent, self._idle):
            oldest = next((one for one in waiting if host is None or self.connections[one] == host), None)
            if oldest is not None:
                self.leave(oldest)
                oldest.abort()
                return True
        return False

    def warn(self, event: str, **fields: object) -> None:
        """Write a line, unless there was one like it within a minute."""
        now = time.monotonic()
        if now >= self._told.get(event, now):
            self._told[event] = now + _LINES_EVERY
            structlog.get_logger().warning(event, server=self._name, **fields)
