"""Batched callbacks and deadlines on an event loop, cheap at thousands per second.

Waking a loop costs a system call and an iteration, and a busy ingest gets hundreds of results at once from other
threads. So a callback that comes while a wake-up is pending only joins the queue. Nearly all deadlines are cleared long
before they expire, so that they share one timer.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from typing import Self

K = TypeVar("K", bound="Hashable")
T = TypeVar("T")


class LoopCaller:
    """Runs callbacks on one event loop, for any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._calls: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._called = False

    @classmethod
    def here(cls, last: Self | None) -> Self:
        """Return `last` if it belongs to the running event loop, else a new one."""
        # `get_running_loop` is not called each time: before Python 3.12 it makes a system call.
        return last if last is not None and last.loop.is_running() else cls(asyncio.get_running_loop())

    def call(self, callback: Callable[[T], None], argument: T) -> None:
        """Call `callback` with `argument` on the loop, in the order of the calls. From any thread; returns at once."""
        self._calls.append((callback, argument))
        if not self._called:
            self._called = True
            with suppress(RuntimeError):  # the loop is closed
                self.loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        # Cleared before the queue is read: a thread that adds a callback from now on wakes the loop again.
        self._called = False
        try:
            while self._calls:
                callback, argument = self._calls.popleft()
                callback(argument)
        finally:
            # The loop reports the exception of a callback, which must not stop the others.
            if self._calls:
                self.loop.call_soon(self._deliver)


class Deadlines(Generic[K]):
    """Deadlines of one event loop at a time; those of an earlier loop are dropped.

    Moving or clearing a deadline leaves the timer unchanged. When the timer fires, it checks all deadlines.
    """

    def __init__(self, over: Callable[[K], None]) -> None:
        """`over` is called once with each key whose deadline expires."""
        self._over = over
        self._ends: dict[K, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = math.inf

    def set(self, key: K, at: float) -> None:
        """Set or move the deadline of `key` to `at`, in the event loop's seconds."""
        loop = self._loop
        # `get_running_loop` is not called each time: before Python 3.12 it makes a system call.
        if loop is None or not loop.is_running():
            self._loop = loop = asyncio.get_running_loop()
            self._timer, self._fires_at = None, math.inf
            self._ends.clear()
        self._ends[key] = at
        if at < self._fires_at:
            self._arm(loop, at)

    def clear(self, key: K) -> bool:
        """Clear a deadline; return whether it was set and had not expired."""
        return self._ends.pop(key, None) is not None

    def _arm(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires_at = at
        self._timer = loop.call_at(at, self._fire, loop)

    def _fire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, self._fires_at = None, math.inf
        now = loop.time()
        try:
            for key in [key for key, at in self._ends.items() if at <= now]:
                # An earlier callback may have cleared it.
                if self.clear(key):
                    self._over(key)
        finally:
            if self._ends:
                self._arm(loop, min(self._ends.values()))
