"""The simulator as whoever runs it sees it: start and stop, or serve until told to stop."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol, Self

import structlog

from bridge.adapters.clock import SystemClock
from bridge.simulator.app import App
from bridge.simulator.server import SimulatorServer
from bridge.simulator.settings import SimulatorSettings
from bridge.simulator.state import Account

if TYPE_CHECKING:
    from types import TracebackType

    from bridge.ports import Clock

log = structlog.get_logger()

#: How long `stop` waits for the thread, in seconds.
_PATIENCE = 5.0


class StopSignal(Protocol):
    """What says that it is time to stop; a `threading.Event` does."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait, for at most `timeout` seconds, and return whether it is time."""
        ...


class Simulator:
    """A provider of one's own, on a thread of its own. It can be started once."""

    def __init__(self, settings: SimulatorSettings | None = None, *, clock: Clock | None = None) -> None:
        self._settings = settings or SimulatorSettings()
        self._clock = clock or SystemClock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        #: ``http://host:port``, once it is started.
        self.url = ""

    def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen, on a thread in the background, and return the port.

        Raises:
            OSError: the address can't be listened on, or the journal not opened.

        """
        bound: Future[int] = Future()
        self._thread = threading.Thread(
            target=self._main, args=(host, port, bound), name="simulator", daemon=True
        )
        self._thread.start()
        taken = bound.result()
        self.url = f"http://[{host}]:{taken}" if ":" in host else f"http://{host}:{taken}"
        return taken

    def stop(self) -> None:
        """End every connection and return when the thread is gone; harmless where nothing runs."""
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    def serve(self, host: str, port: int, stopping: StopSignal) -> None:
        """Listen until `stopping` says so; blocks.

        Raises:
            OSError: as `start` does.

        """
        self.start(host, port)
        try:
            while not stopping.wait(1.0) and self._thread is not None and self._thread.is_alive():
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

    def _main(self, host: str, port: int, bound: Future[int]) -> None:
        try:
            asyncio.run(self._run(host, port, bound))
        except Exception as error:
            if bound.done():
                raise
            bound.set_exception(error)

    async def _run(self, host: str, port: int, bound: Future[int]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        account = Account(self._settings, self._clock)
        server = SimulatorServer(App(account), lambda: account.settings.keep_alive)
        try:
            taken = await server.start(host, port)
            account.notifier.start()
            log.info("simulator.started", host=host, port=taken)
            bound.set_result(taken)
            await self._stop.wait()
        finally:
            await server.stop()
            await account.notifier.stop()
            account.journal.close()
        log.info("simulator.stopped", accepted=account.stats["accepted"])
