"""The HTTP server: listens in a separate thread, and stops gracefully."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from bridge.adapters.http.server.acceptor import Acceptor
from bridge.adapters.http.server.connection import HttpConnection
from bridge.adapters.http.server.registry import ConnectionRegistry
from bridge.adapters.http.server.tls import TlsHandshake, server_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine

    from bridge.adapters.http.server.application import Application
    from bridge.adapters.http.server.options import ServerOptions

T = TypeVar("T")

#: Seconds after its grace period within which a server must have ended.
_MARGIN = 2.0
#: Seconds for writing the last responses and closing the connections.
_LAST_WRITES = 0.2
#: Seconds between two iterations of an idle event loop.
_IDLE_INTERVAL = 0.5
#: The backlog: connections that wait to be accepted.
_BACKLOG = 256


class HttpServer:
    """One application on one port. It starts once and stops once, and changes neither signal handlers nor logging."""

    def __init__(self, application: Application, options: ServerOptions, *, name: str) -> None:
        self._application = application
        self._options = options
        self._registry = ConnectionRegistry(options, name)
        self._thread = threading.Thread(target=self._run, name=f"http-{name}", daemon=True)
        self._tls: ssl.SSLContext | None = None
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running = threading.Event()
        self._stopping = asyncio.Event()
        self._grace = 0.0
        #: The iterations of the event loop; see `bridge.ops.progress`.
        self.iterations = 0

    def start(self) -> int:
        """Listen, return the port, and accept connections.

        Raises:
            CertificateUnusable: the TLS files can't be used.
            OSError: the address can't be bound.

        """
        if self._options.tls_certificate is not None:
            self._tls = server_context(self._options.tls_certificate, self._options.tls_key)
        self._socket = _listen(self._options.host, self._options.port)
        self._thread.start()
        return self.port

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        return int(self._socket.getsockname()[1]) if self._socket else 0

    def call(self, work: Callable[[], Coroutine[Any, Any, T]], timeout: float) -> T:
        """Run `work` on the server's event loop, and return its result. For any other thread.

        Raises:
            TimeoutError: it took longer than `timeout` seconds, or the server does not run.

        """
        if self._thread.ident is not None:
            self._running.wait(timeout)
        loop = self._loop
        if loop is None or loop.is_closed():
            raise TimeoutError("the server does not run")
        coroutine = work()
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, loop).result(timeout)
        except (RuntimeError, CancelledError) as e:
            coroutine.close()
            raise TimeoutError("the server has stopped") from e

    @property
    def is_alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._thread.is_alive()

    @property
    def thread_id(self) -> int | None:
        """The native id of the event loop's thread, once it runs."""
        return self._thread.native_id

    def stop(self, grace: float) -> None:
        """Accept no more connections, finish pending responses within `grace` seconds, then end."""
        self._grace = grace
        if self._thread.ident is not None:  # the thread may be about to begin
            self._running.wait(_MARGIN)
        if self._loop is None:
            return
        with suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(grace + _MARGIN)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self._running.set()
        assert self._socket is not None  # noqa: S101 - set by `start`
        acceptor = Acceptor(self._socket, self._registry, self._new_protocol)
        acceptor.start()
        self._count_iterations(loop)
        await self._stopping.wait()
        acceptor.stop()
        connections = self._registry.connections
        for connection in list(connections):
            connection.finish()
        await self._emptied(self._grace)
        for connection in list(connections):
            connection.give_up()
        await self._emptied(_LAST_WRITES)
        for connection in list(connections):
            connection.abort()

    def _count_iterations(self, loop: asyncio.AbstractEventLoop) -> None:
        self.iterations += 1
        loop.call_later(_IDLE_INTERVAL, self._count_iterations, loop)

    def _new_protocol(self) -> HttpConnection | TlsHandshake:
        return (
            self._serve_one()
            if self._tls is None
            else TlsHandshake(self._tls, self._registry, self._serve_one)
        )

    def _serve_one(self) -> HttpConnection:
        return HttpConnection(self._application, self._registry)

    async def _emptied(self, within: float) -> None:
        """Wait until all connections have ended, at most `within` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._registry.empty.wait()


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on `host`; on `::` also for IPv4, if the system supports both."""
    # A name may have addresses of both families, or of IPv6 only.
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, *_, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    return socket.create_server(
        address,
        family=family,
        backlog=_BACKLOG,
        dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
    )
