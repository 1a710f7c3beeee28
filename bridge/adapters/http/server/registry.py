"""The connection registry of a server: limits, deadlines and log lines.

Idle connections are evicted for new ones: first the oldest whose first head is incomplete, then the one that has been
idle for longest. Connections with a pending request stay. If all have one, some more connections are answered 503, and
the others are closed.
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

#: Connections beyond the limit that are answered 503, once their requests are read. All others are closed.
ANSWERED_BEYOND = 100
#: Seconds in the `Retry-After` of such a response.
_RETRY_AFTER = 5
#: Seconds between two log lines about the same event: any client can send data that is not HTTP.
_LINES_EVERY = 60.0
#: The response beyond the limit.
FULL = problem(503, {"retry-after": str(_RETRY_AFTER)}, closes=True)


class ClientConnection(Hashable, Protocol):
    """A connection, as the registry uses it."""

    def on_deadline(self) -> None:
        """End a connection that missed its deadline."""
        ...

    def finish(self) -> None:
        """Answer the pending requests, then end."""
        ...

    def give_up(self) -> None:
        """End, with a response to a pending request."""
        ...

    def abort(self) -> None:
        """End immediately."""
        ...


class ConnectionRegistry:
    """Used on the server's event loop."""

    def __init__(self, options: ServerOptions, name: str) -> None:
        """`name` is the server's name in the log."""
        self.head_timeout = options.head_timeout
        self.write_timeout = options.write_timeout
        self._keep_alive = options.keep_alive
        #: The header fields that announce it, as clients expect them (RFC 2068 section 19.7.1.1).
        self.persistence = b"connection: keep-alive\r\nkeep-alive: timeout=%d\r\n" % options.keep_alive
        #: Each with its client's address (`host_of`).
        self.connections: dict[ClientConnection, str | None] = {}
        #: Set while there are no connections.
        self.empty = asyncio.Event()
        self.empty.set()
        self.deadlines: Deadlines[ClientConnection] = Deadlines(lambda connection: connection.on_deadline())
        self.dates = Dates()
        self._peers = options.peers
        self._max_connections = options.max_connections
        self._name = name
        self._next_lines: dict[str, float] = {}
        self._of_each: Counter[str | None] = Counter()
        #: Connections whose first head is incomplete, and connections without a pending request; each the oldest first.
        self._silent: dict[ClientConnection, None] = {}
        self._idle: dict[ClientConnection, None] = {}
        #: Connections beyond the limit.
        self._beyond: set[ClientConnection] = set()

    def rejects(self, peer: str) -> bool:
        """Return whether a connection from this address is to be closed immediately."""
        if self._peers.may_connect(peer):
            return False
        self._peers.refused(peer)
        return True

    def add(self, connection: ClientConnection, peer: str | None) -> bool:
        """Add a connection; return whether it is to be served."""
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
        """Start the deadline of a head."""
        self.deadlines.set(connection, asyncio.get_running_loop().time() + self.head_timeout)

    def on_head(self, connection: ClientConnection) -> Response | None:
        """Handle a complete head: the connection can't be evicted now.

        Returns the response for a connection beyond the limit, while the limit is exceeded.
        """
        self._silent.pop(connection, None)
        self._idle.pop(connection, None)
        is_beyond = connection in self._beyond and len(self.connections) > self._max_connections
        return FULL if is_beyond else None

    def on_response(
        self, connection: ClientConnection, response: Response, now: float, *, closes: bool
    ) -> None:
        """Start the deadline of the next head, or of closing; until then the connection may be evicted."""
        # Connections beyond the limit are few, and their input has to be read.
        if response is not FULL and connection in self.connections:
            self._idle[connection] = None
        seconds = self.head_timeout
        if not closes:
            seconds = seconds + self._keep_alive if response.keep_alive is None else response.keep_alive
        self.deadlines.set(connection, now + seconds)

    def remove(self, connection: ClientConnection) -> None:
        """Remove a connection."""
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
        """Close an idle connection, of `host` if one is given; return whether there was one."""
        for waiting in (self._silent, self._idle):
            oldest = next((one for one in waiting if host is None or self.connections[one] == host), None)
            if oldest is not None:
                self.remove(oldest)
                oldest.abort()
                return True
        return False

    def warn(self, event: str, **fields: object) -> None:
        """Write a log line, unless there was one about the same event within a minute."""
        now = time.monotonic()
        if now >= self._next_lines.get(event, now):
            self._next_lines[event] = now + _LINES_EVERY
            structlog.get_logger().warning(event, server=self._name, **fields)
