"""Calls back on an event loop, cheaply where that happens thousands of times a second: results and deadlines.

To wake a loop costs a system call and a turn of its own, and on a busy ingest hundreds of results come together from
other threads. So one that comes while the loop is already called only adds to what it will find. And nearly all
deadlines end long before their time: many have one timer.
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
    """Calls back on one event loop, from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._calls: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._called = False

    @classmethod
    def here(cls, last: Self | None) -> Self:
        """Return `last` where it is the running event loop's, else a new one."""
        # The loop is not asked for each time: before Python 3.12 that is a system call.
        return last if last is not None and last.loop.is_running() else cls(asyncio.get_running_loop())

    def call(self, callback: Callable[[T], None], argument: T) -> None:
        """Call `callback` with `argument` on the loop, in the order of the calls. From any thread; returns at once."""
        self._calls.append((callback, argument))
        if not self._called:
            self._called = True
            with suppress(RuntimeError):  # the loop is closed
                self.loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        # Before it is looked: a thread that adds from now on calls again, at worst in vain.
        self._called = False
        try:
            while self._calls:
                callback, argument = self._calls.popleft()
                callback(argument)
        finally:
            # A mistake in one is the loop's to report, and must not stop the others.
            if self._calls:
                self.loop.call_soon(self._deliver)


class Deadlines(Generic[K]):
    """Used on one event loop at a time; what was set on one that is over is forgotten.

    To move or to take back a deadline leaves the timer alone. When that fires, it looks at all deadlines there are.
    """

    def __init__(self, over: Callable[[K], None]) -> None:
        """`over` is called with what had its time, once."""
        self._over = over
        self._ends: dict[K, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = math.inf

    def set(self, key: K, at: float) -> None:
        """Give `key` until `at`, in the event loop's seconds, in place of what it had."""
        loop = self._loop
        # Not to be asked for each time: before Python 3.12 that is a system call.
        if loop is None or not loop.is_running():
            self._loop = loop = asyncio.get_running_loop()
            self._timer, self._fires_at = None, math.inf
            self._ends.clear()
        self._ends[key] = at
        if at < self._fires_at:
            self._arm(loop, at)

    def clear(self, key: K) -> bool:
        """Take back a deadline; return whether there was one that is not over."""
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
                # What was called before may have taken it back.
                if self.clear(key):
                    self._over(key)
        finally:
            if self._ends:
                self._arm(loop, min(self._ends.values()))
