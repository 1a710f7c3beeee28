"""Listens, in a thread of its own, and ends in good order."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from bridge.adapters.http.accepting import Accepting
from bridge.adapters.http.connection import Connection
from bridge.adapters.http.house import House
from bridge.adapters.http.peers import Peers
from bridge.adapters.http.tls import Doorstep, server_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from bridge.adapters.http.service import Service

T = TypeVar("T")

#: Seconds beyond its grace in which a server must have ended.
_MARGIN = 2.0
#: Seconds that last answers have to be written and connections to be closed in.
_FAREWELL = 0.2
#: Seconds between two rounds of an event loop that has nothing else to do.
_ROUND = 0.5
#: Connections that wait to be accepted.
_BACKLOG = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """Where and how to listen."""

    host: str
    #: 0 takes any free one.
    port: int
    #: PEM files; without a certificate, plain HTTP. A key may stand in the certificate's file.
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    #: Open at the same time. Beyond it one that has asked for nothing makes room.
    max_connections: int = 1000
    #: The addresses that may connect.
    peers: Peers = field(default_factory=Peers)
    #: Seconds that a connection stays open between requests at least; announced in each answer.
    keep_alive: float = 75.0
    #: Seconds a client may take to send a request's line and headers.
    head_timeout: float = 5.0
    #: Seconds it may take to read what was written to it, once that is more than fits on the way.
    write_timeout: float = 5.0


class HttpServer:
    """One service on one port. Starts once and stops once; neither signals nor the log's set-up are touched."""

    def __init__(self, service: Service, bind: Bind, *, name: str) -> None:
        self._service = service
        self._bind = bind
        self._house = House(bind, name)
        self._thread = threading.Thread(target=self._run, name=f"http-{name}", daemon=True)
        self._tls: ssl.SSLContext | None = None
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._grace = 0.0
        #: How often the event loop went round; see `bridge.ops.progress`.
        self.rounds = 0

    def start(self) -> int:
        """Listen and return the port. Connections are taken from here on.

        Raises:
            CertificateUnusable: the TLS files can't be used.
            OSError: the address can't be had.

        """
        if self._bind.tls_certificate is not None:
            self._tls = server_context(self._bind.tls_certificate, self._bind.tls_key)
        self._socket = _listen(self._bind.host, self._bind.port)
        self._thread.start()
        return self.port

    @property
    def port(self) -> int:
        """The port it listens on, once it was started."""
        return int(self._socket.getsockname()[1]) if self._socket else 0

    def call(self, work: Callable[[], Coroutine[Any, Any, T]], timeout: float) -> T:
        """Have the app's event loop do `work`, and return what it gave. From any other thread.

        Raises:
            TimeoutError: it was not done within `timeout` seconds, or the server does not run.

        """
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
    def thread_id(self) -> int | None:
        """The native id of the event loop's thread, once it runs."""
        return self._thread.native_id

    def stop(self, grace: float) -> None:
        """Take no more connections, let what is being answered end within `grace` seconds, then end it."""
        self._grace = grace
        while self._thread.is_alive() and self._loop is None:  # it has only just begun
            self._thread.join(0.01)
        if self._loop is None:
            return
        with suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(grace + _MARGIN)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        loop = self._loop = asyncio.get_running_loop()
        assert self._socket is not None  # noqa: S101 - set by `start`
        accepting = Accepting(self._socket, self._house, self._admit)
        accepting.start()
        self._go_round(loop)
        await self._stopping.wait()
        accepting.stop()
        connections = self._house.connections
        for connection in list(connections):
            connection.finish()
        await self._emptied(self._grace)
        for connection in list(connections):
            connection.give_up()
        await self._emptied(_FAREWELL)
        for connection in list(connections):
            connection.abort()

    def _go_round(self, loop: asyncio.AbstractEventLoop) -> None:
        self.rounds += 1
        loop.call_later(_ROUND, self._go_round, loop)

    def _admit(self) -> Connection | Doorstep:
        return self._serve_one() if self._tls is None else Doorstep(self._tls, self._house, self._serve_one)

    def _serve_one(self) -> Connection:
        return Connection(self._service, self._house)

    async def _emptied(self, within: float) -> None:
        """Wait until all have gone, at most `within` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._house.empty.wait()


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on `host`; on `::`, for IPv4 too where the system has both."""
    # A name may have addresses of both kinds, or of IPv6 alone.
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, *_, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    return socket.create_server(
        address,
        family=family,
        backlog=_BACKLOG,
        dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
    )
