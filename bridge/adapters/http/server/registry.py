"""All connections of a server: how many there may be, their deadlines, what is logged of them.

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

from bridge.adapters.http.server.peers import host_of
from bridge.adapters.http.server.response import Dates, Response, problem
from bridge.concurrency.event_loop import Deadlines

if TYPE_CHECKING:
    from bridge.adapters.http.server.options import ServerOptions

#: Connections beyond the limit that are answered 503, once their requests are read. Still more are closed.
ANSWERED_BEYOND = 100
#: Seconds after which such a client may come again.
_RETRY_AFTER = 5
#: Seconds between two lines about the same thing: any stranger can send something that is not HTTP.
_LINES_EVERY = 60.0
#: The response while there are too many.
FULL = problem(503, {"retry-after": str(_RETRY_AFTER)}, closes=True)


class ClientConnection(Hashable, Protocol):
    """A connection as the registry sees it."""

    def on_deadline(self) -> None:
        """Give up on what did not come in time."""
        ...

    def finish(self) -> None:
        """Answer what is asked, and no more."""
        ...

    def give_up(self) -> None:
        """End, with a response to a request that still waits."""
        ...

    def abort(self) -> None:
        """End at once."""
        ...


class ConnectionRegistry:
    """Used on the server's event loop."""

    def __init__(self, options: ServerOptions, name: str) -> None:
        """`name` is the server's, for the log."""
        self.head_timeout = options.head_timeout
        self.write_timeout = options.write_timeout
        self._keep_alive = options.keep_alive
        #: The fields that announce it, as clients look for them (RFC 2068 section 19.7.1.1).
        self.persistence = b"connection: keep-alive\r\nkeep-alive: timeout=%d\r\n" % options.keep_alive
        #: Each with the client at its other end (`host_of`).
        self.connections: dict[ClientConnection, str | None] = {}
        #: Set while there are none.
        self.empty = asyncio.Event()
        self.empty.set()
        self.deadlines: Deadlines[ClientConnection] = Deadlines(lambda connection: connection.on_deadline())
        self.dates = Dates()
        self._peers = options.peers
        self._max_connections = options.max_connections
        self._name = name
        self._next_lines: dict[str, float] = {}
        self._of_each: Counter[str | None] = Counter()
        #: Those whose first head is not complete, and those that have nothing to answer; each the oldest first.
        self._silent: dict[ClientConnection, None] = {}
        self._idle: dict[ClientConnection, None] = {}
        #: Those that came when none made room.
        self._beyond: set[ClientConnection] = set()

    def rejects(self, peer: str) -> bool:
        """Return whether a connection from this address is to be closed at once."""
        if self._peers.may_connect(peer):
            return False
        self._peers.refused(peer)
        return True

    def add(self, connection: ClientConnection, peer: str | None) -> bool:
        """Count a connection, and return whether it is one that is served."""
        has_capacity = True
        limit = self._peers.limit(peer)
        host = host_of(peer)
        if limit and self._of_each[host] >= limit:
            self.warn("http.address_full", client=peer, hint="see max_connections_each and trusted_proxies")
            has_capacity = self.evict(host)
        if len(self.connections) >= self._max_connections:
            self.warn("http.crowded")
            if not self.evict():
                self._beyond.add(connection)
        self.connections[connection] = host
        self._of_each[host] += 1
        self._silent[connection] = None
        self.empty.clear()
        return has_capacity and len(self.connections) <= self._max_connections + ANSWERED_BEYOND

    def expect_head(self, connection: ClientConnection) -> None:
        """Give a connection its time for a head."""
        self.deadlines.set(connection, asyncio.get_running_loop().time() + self.head_timeout)

    def on_head(self, connection: ClientConnection) -> Response | None:
        """Take note of a complete head: this connection makes no room now.

        Returns the response to one that came when there were too many, while there are.
        """
        self._silent.pop(connection, None)
        self._idle.pop(connection, None)
        is_beyond = connection in self._beyond and len(self.connections) > self._max_connections
        return FULL if is_beyond else None

    def on_response(
        self, connection: ClientConnection, response: Response, now: float, *, closes: bool
    ) -> None:
        """Give a connection its time for the next head, or to be closed; until then it may make room."""
        # Those beyond are few, and have to be read.
        if response is not FULL and connection in self.connections:
            self._idle[connection] = None
        seconds = self.head_timeout
        if not closes:
            seconds = seconds + self._keep_alive if response.keep_alive is None else response.keep_alive
        self.deadlines.set(connection, now + seconds)

    def remove(self, connection: ClientConnection) -> None:
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

    def evict(self, host: str | None = None) -> bool:
        """Close one connection that has asked for nothing, of `host` if one is given; return whether there was one."""
        for waiting in (self._silent, self._idle):
            oldest = next((one for one in waiting if host is None or self.connections[one] == host), None)
            if oldest is not None:
                self.remove(oldest)
                oldest.abort()
                return True
        return False

    def warn(self, event: str, **fields: object) -> None:
        """Write a line, unless there was one like it within a minute."""
        now = time.monotonic()
        if now >= self._next_lines.get(event, now):
            self._next_lines[event] = now + _LINES_EVERY
            structlog.get_logger().warning(event, server=self._name, **fields)
