"""The background worker: a thread that carries a job out again and again, beside the work that must not wait for it.

A job is a subclass with `run_once`. The worker gives it what every such thread needs:

- `start` begins, `after` so many seconds; `stop` ends within a time, and returns although a call hangs;
- the wait between two rounds, as long as the last round asked for, cut short by `wake` from any thread;
- `pause`, a wait that only `stop` cuts short: a back-off must not end because there is more to do;
- a round that raises is logged as `thread.crashed` and the next one comes after `retry` seconds. Where the process can
  not live without the job, `on_crash` is called instead, and the thread ends;
- `warn` logs what repeats, once a minute at most;
- `has_more` keeps a worker that stops going for what it still owes, and `close` is called on the thread at its end.

Not for a thread that waits on a socket or an event loop, such as `adapters.amqp.link` and `adapters.http`; nor for the
worker's loop, whose rounds end in a commit that may take for ever and must not be given up.
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
    """Calls `run_once` on a thread of its own until it is stopped."""

    def __init__(
        self,
        name: str,
        *,
        after: float = 0.0,
        retry: float = 60.0,
        on_crash: Callable[[], None] | None = None,
        stopping: threading.Event | None = None,
    ) -> None:
        """`after` and `retry` are in seconds; `stopping` is shared with what else ends at the same time."""
        self._after = after
        self._retry = retry
        self._on_crash = on_crash
        self._stopping = stopping or threading.Event()
        self._woken = threading.Event()
        #: Has the next round come at once. From any thread; returns at once.
        self.wake = self._woken.set
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._log = structlog.get_logger()
        self._warned_at = -inf

    @abstractmethod
    def run_once(self) -> float | None:
        """Carry out a round; return the seconds until the next one, `math.inf` to wait for `wake`, None to end."""

    def has_more(self) -> bool:
        """Tell whether a worker that is to stop has to go on first."""
        return False

    def close(self) -> None:  # noqa: B027 - many hold nothing
        """Let go of what the rounds used."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout: float = TIMEOUT) -> None:
        """End after the round at hand, within `timeout` seconds."""
        self._stopping.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def pause(self, seconds: float) -> bool:
        """Wait on the worker's thread; return whether it is to stop."""
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
            # Before the round looks what there is: what comes from now on wakes the thread again.
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
        """Let go of it."""
        ...


C = TypeVar("C", bound=Closable)


class StoreWorker(BackgroundWorker, Generic[C]):
    """A background worker with a connection of its own, opened when it is first needed and again after `close`."""

    def __init__(
        self,
        name: str,
        open_store: Callable[[], C],
        *,
        retry: float = 60.0,
        on_crash: Callable[[], None] | None = None,
        stopping: threading.Event | None = None,
    ) -> None:
        """`open_store` may raise: each use of `store` tries again. The rest is as for every background worker."""
        super().__init__(name, retry=retry, on_crash=on_crash, stopping=stopping)
        self._open_store = open_store
        self._store: C | None = None

    @property
    def store(self) -> C:
        """The connection, opened where there is none."""
        if self._store is None:
            self._store = self._open_store()
        return self._store

    def close(self) -> None:
        """Close the connection, if there is one."""
        store, self._store = self._store, None
        if store is not None:
            store.close()
