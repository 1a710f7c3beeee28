"""The accept loop of a listening socket, with limits.

asyncio's accept loop has no address filter, and does not expect that file descriptors run out: then it logs a traceback
for each connection, hundreds per second.
"""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from bridge.adapters.http.server.registry import ConnectionRegistry

#: Connections accepted in one iteration of the event loop.
_AT_ONCE = 64
#: Errors that end when a file or connection is closed.
_NO_CAPACITY = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
#: Errors of a connection that ended before it was accepted: accept(2), "Error handling".
_GONE = frozenset(
    {
        errno.ECONNABORTED, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ENOPROTOOPT,
        errno.EOPNOTSUPP, errno.EPROTO,
    }
)  # fmt: skip
#: Seconds until the next attempt: if a connection was evicted, and if none could be.
_SOON, _LATER = 0.005, 0.1


class Acceptor:
    """Used on one event loop."""

    def __init__(
        self, listener: socket.socket, registry: ConnectionRegistry, serve: Callable[[], asyncio.Protocol]
    ) -> None:
        """`serve` creates the protocol of a connection."""
        self._listener = listener
        self._registry = registry
        self._serve = serve
        self._loop = asyncio.get_running_loop()
        self._pausing: asyncio.TimerHandle | None = None
        #: Tasks that create transports: the event loop holds no strong reference to them.
        self._connecting: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Start accepting connections."""
        self._listener.settimeout(0)
        self._loop.add_reader(self._listener, self._accept)

    def stop(self) -> None:
        """Stop accepting, and close the listening socket."""
        if self._pausing is not None:
            self._pausing.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _GONE:
                    return
                if error.errno not in _NO_CAPACITY:
                    raise
                self._wait_for_capacity()
                return
            if self._registry.rejects(str(address[0])):
                connection.close()
                continue
            connection.settimeout(0)
            task = self._loop.create_task(self._connect(connection))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._serve, connection)
        except OSError:  # the client is gone
            connection.close()

    def _wait_for_capacity(self) -> None:
        """Leave connections in the backlog until something is closed; evict an idle one."""
        self._registry.warn(
            "http.out_of_files",
            hint="raise the limit of open files (LimitNOFILE, ulimit -n), or lower max_connections",
        )
        made = [self._registry.evict() for _ in range(_AT_ONCE)]
        self._loop.remove_reader(self._listener)
        self._pausing = self._loop.call_later(_SOON if any(made) else _LATER, self._resume)

    def _resume(self) -> None:
        self._pausing = None
        self._loop.add_reader(self._listener, self._accept)
