"""Background worker: a thread that repeats a job.

A job is a subclass with `run_once`. The base class provides:

- `start`, which runs the first round after `after` seconds, and `stop`, which returns in time even if a call hangs;
- the wait between two rounds, as long as the last round returned; `wake` ends it early, from any thread;
- `pause`, a wait that only `stop` ends early, since new work must not shorten a back-off;
- `thread.crashed` in the log for a round that raises, and the next round after `retry` seconds. If the process cannot
  run without the job, `on_crash` is called instead, and the thread ends;
- `warn`, which logs repeated warnings at most once a minute;
- `has_more`, which lets a stopping worker finish its work, and `close`, which is called on the thread at its end.

It is not meant for threads that wait on a socket or an event loop (`adapters.amqp.connection_thread`, `adapters.http`),
nor for the worker's loop, whose commits may take any time and must not be abandoned.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from math import inf
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds that `stop` waits for the thread.
TIMEOUT = 5.0
#: Seconds between two warnings of a worker by `warn`.
LOG_EVERY = 60.0


class BackgroundWorker(ABC):
    """Calls `run_once` on a dedicated thread until it is stopped."""

    def __init__(
        self,
        name: str,
        *,
        after: float = 0.0,
        retry: float = 60.0,
        on_crash: Callable[[], None] | None = None,
        stopping: threading.Event | None = None,
    ) -> None:
        """`after` and `retry` are in seconds; `stopping` may be shared by workers that stop together."""
        self._after = after
        self._retry = retry
        self._on_crash = on_crash
        self._stopping = stopping or threading.Event()
        self._woken = threading.Event()
        #: Starts the next round at once. From any thread; returns at once.
        self.wake = self._woken.set
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._log = structlog.get_logger()
        self._warned_at = -inf

    @abstractmethod
    def run_once(self) -> float | None:
        """Run one round; return the seconds until the next one, `math.inf` to wait for `wake`, None to end."""

    def has_more(self) -> bool:
        """Return whether a stopping worker has work left that it must finish."""
        return False

    def close(self) -> None:  # noqa: B027 - many hold nothing
        """Release the resources of the rounds."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float = TIMEOUT) -> None:
        """Stop after the current round; return within `timeout` seconds."""
        self._stopping.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
            if self._thread.is_alive():
                self._log.warning("thread.not_stopped", thread=self._thread.name, waited=timeout)

    def pause(self, seconds: float) -> bool:
        """Wait on the worker's thread; return whether the worker is stopping."""
        return self._stopping.wait(seconds)

    def warn(self, event: str, **fields: str) -> None:
        """Log a warning, once a minute at most."""
        now = time.monotonic()
        if now - self._warned_at >= LOG_EVERY:
            self._warned_at = now
            self._log.warning(event, **fields)

    def _run(self) -> None:
        wait: float | None = self._after
        while wait is not None:
            if wait and not self._stopping.is_set():
                self._woken.wait(None if wait == inf else wait)
            # Cleared before the round reads its work: later work wakes the thread again.
            self._woken.clear()
            if self._stopping.is_set() and not self.has_more():
                break
            try:
                wait = self.run_once()
            except Exception:  # noqa: BLE001 - the outermost loop
                wait = self._after_crash()
        self.close()

    def _after_crash(self) -> float | None:
        if self._on_crash is not None:
            self._log.critical("thread.crashed", thread=self._thread.name, exc_info=True)
            self._on_crash()
            return None
        self._log.exception("thread.crashed", thread=self._thread.name, retry_in=self._retry)
        return None if self.pause(self._retry) else 0.0


class Closable(Protocol):
    """A connection."""

    def close(self) -> None:
        """Close the connection."""
        ...


C = TypeVar("C", bound=Closable)


class StoreWorker(BackgroundWorker, Generic[C]):
    """A background worker with its own connection, opened on first use and again after `close`."""

    def __init__(
        self,
        name: str,
        open_store: Callable[[], C],
        *,
        retry: float = 60.0,
        on_crash: Callable[[], None] | None = None,
        stopping: threading.Event | None = None,
    ) -> None:
        """`open_store` may raise; the next use of `store` tries again. The other parameters are the base class's."""
        super().__init__(name, retry=retry, on_crash=on_crash, stopping=stopping)
        self._open_store = open_store
        self._store: C | None = None

    @property
    def store(self) -> C:
        """The connection, opened if necessary."""
        if self._store is None:
            self._store = self._open_store()
        return self._store

    def close(self) -> None:
        """Close the connection, if it is open."""
        store, self._store = self._store, None
        if store is not None:
            store.close()
