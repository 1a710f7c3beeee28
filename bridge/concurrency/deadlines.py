"""Deadlines of an event loop, many with one timer: nearly all that has one ends long before it."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

K = TypeVar("K", bound="Hashable")


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
                # Who was called before may have taken it back.
                if self.clear(key):
                    self._over(key)
        finally:
            if self._ends:
                self._arm(loop, min(self._ends.values()))
