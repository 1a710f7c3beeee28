"""The simulator as its users see it: start and stop, or serve until it is time to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

import structlog

from bridge.adapters.clock import SystemClock
from bridge.adapters.http.server.options import ServerOptions
from bridge.adapters.http.server.server import HttpServer
from bridge.simulator.app import App
from bridge.simulator.settings import SimulatorSettings
from bridge.simulator.state import Account

if TYPE_CHECKING:
    from types import TracebackType

    from bridge.ports import Clock

log = structlog.get_logger()

#: How long `start` waits for the server's thread, in seconds.
_TIMEOUT = 5.0
#: Seconds until a client that sends no request, or reads no response, is cut off.
_TIMEOUT = 60.0
#: More than any test opens.
_CONNECTIONS = 10_000


class StopSignal(Protocol):
    """A signal that it is time to stop, such as a `threading.Event`."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait, for at most `timeout` seconds, and return whether it is time."""
        ...


class Simulator:
    """A simulated provider on a separate thread. It can be started once."""

    def __init__(self, settings: SimulatorSettings | None = None, *, clock: Clock | None = None) -> None:
        self._settings = settings or SimulatorSettings()
        self._clock = clock or SystemClock()
        self._account: Account | None = None
        self._server: HttpServer | None = None
        #: ``http://host:port``, once it is started.
        self.url = ""

    def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen, on a thread in the background, and return the port.

        Raises:
            OSError: the address can't be listened on, or the journal not opened.

        """
        account = Account(self._settings, self._clock)
        options = ServerOptions(
            host=host,
            port=port,
            max_connections=_CONNECTIONS,
            head_timeout=_TIMEOUT,
            write_timeout=_TIMEOUT,
        )
        server = HttpServer(App(account), options, name="simulator")
        try:
            taken = server.start()
        except OSError:
            account.journal.close()
            raise
        self._account, self._server = account, server
        server.call(account.notifier.start, _TIMEOUT)
        log.info("simulator.started", host=host, port=taken)
        self.url = f"http://[{host}]:{taken}" if ":" in host else f"http://{host}:{taken}"
        return taken

    def stop(self) -> None:
        """End every connection and return when the thread is gone; harmless where nothing runs."""
        server, account = self._server, self._account
        self._server = None
        if server is None or account is None:
            return
        server.stop(0)
        account.journal.close()
        log.info("simulator.stopped", accepted=account.stats["accepted"])

    def serve(self, host: str, port: int, stopping: StopSignal) -> None:
        """Listen until `stopping` says so; blocks.

        Raises:
            OSError: as `start` does.

        """
        self.start(host, port)
        try:
            while not stopping.wait(1.0) and self._server is not None and self._server.is_alive:
                pass
        finally:
            self.stop()

    def __enter__(self) -> Self:
        """Start on any free port of the loopback."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()
