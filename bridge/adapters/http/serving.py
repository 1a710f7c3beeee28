"""Runs an ASGI app on uvicorn, in a thread of its own."""

from __future__ import annotations

import asyncio
import math
import socket
import threading
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import uvicorn

from bridge.adapters.http.guard import GuardedHttp
from bridge.adapters.http.tls import check_certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

T = TypeVar("T")

#: Seconds beyond its grace in which a server must have ended: it polls ten times a second.
_MARGIN = 2.0
#: Connections that wait to be accepted, and are then accepted at once before anything else is looked at.
_BACKLOG = 256
#: Seconds for a TLS handshake, and for the other side's good-bye.
_TLS_TIMEOUT = 5.0
#: For TLS 1.2, said here since some versions of uvicorn take those of TLS 1.0. Those of 1.3 are all good.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """Where and how to listen."""

    host: str
    #: 0 takes any free one.
    port: int
    #: PEM files; without a certificate, plain HTTP. A key may stand in the certificate's file.
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    #: Open at the same time; beyond it 503 is answered, and far beyond it nothing.
    max_connections: int = 1000
    #: Seconds a connection may idle between requests.
    idle_timeout: int = 5
    #: Seconds a client may take to send a request's line and headers.
    head_timeout: float = 5.0
    #: Seconds it may take to read what was written to it, once that is more than fits on the way.
    write_timeout: float = 5.0


class HttpServer:
    """One app on one port. Starts once and stops once; neither signals nor the log's set-up are touched."""

    def __init__(self, app: Any, bind: Bind, *, name: str) -> None:
        self._bind = bind
        self._server = uvicorn.Server(_config(app, bind))
        self._thread = threading.Thread(target=self._run, name=f"http-{name}", daemon=True)
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> int:
        """Listen and return the port. Connections are taken from here on.

        Raises:
            CertificateUnusable: the TLS files can't be used.
            OSError: the address can't be had.

        """
        if self._bind.tls_certificate is not None:
            check_certificate(self._bind.tls_certificate, self._bind.tls_key)
        self._server.config.load()
        family = socket.AF_INET6 if ":" in self._bind.host else socket.AF_INET
        self._socket = socket.create_server(
            (self._bind.host, self._bind.port), family=family, backlog=_BACKLOG
        )
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

    def stop(self, grace: float) -> None:
        """Take no more connections, let what is being answered end within `grace` seconds, then end it."""
        if not self._thread.is_alive():
            return
        self._server.config.timeout_graceful_shutdown = math.ceil(grace)
        self._server.should_exit = True
        self._thread.join(math.ceil(grace) + _MARGIN)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve(sockets=[self._socket] if self._socket else None)


class _Loop(asyncio.SelectorEventLoop):
    """asyncio's loop, with the deadlines for the beginning and the end of TLS that uvicorn has no option for."""

    async def create_server(self, *args: Any, **options: Any) -> asyncio.Server:
        """Listen as always. asyncio's own deadline is a minute, and nothing counts a connection before its end."""
        if options.get("ssl") is not None:
            options |= {"ssl_handshake_timeout": _TLS_TIMEOUT, "ssl_shutdown_timeout": _TLS_TIMEOUT}
        return await super().create_server(*args, **options)


def _config(app: Any, bind: Bind) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        interface="asgi3",
        # Called like the class it stands for.
        http=partial(  # type: ignore[arg-type]
            GuardedHttp,
            max_connections=bind.max_connections,
            head_timeout=bind.head_timeout,
            write_timeout=bind.write_timeout,
        ),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=bind.idle_timeout,
        ssl_certfile=bind.tls_certificate,
        ssl_keyfile=bind.tls_key,
        ssl_ciphers=_CIPHERS,
    )
