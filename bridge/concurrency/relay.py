"""Brings to an event loop what other threads have found out for it.

To wake a loop costs a system call and a turn of its own, and on a busy ingest hundreds of answers come together. So who
comes while the loop is already called for only adds to what it will find.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

T = TypeVar("T")


class Relay:
    """Calls back on one event loop, from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._told: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._called = False

    @classmethod
    def here(cls, last: Self | None) -> Self:
        """Return `last` where it is the running event loop's, else a new one."""
        # The loop is not asked for each time: before Python 3.12 that is a system call.
        return last if last is not None and last.loop.is_running() else cls(asyncio.get_running_loop())

    def tell(self, who: Callable[[T], None], what: T) -> None:
        """Have `who` called with `what` on the loop, in the order of the calls. From any thread; returns at once."""
        self._told.append((who, what))
        if not self._called:
            self._called = True
            with suppress(RuntimeError):  # the loop is closed
                self.loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        # Before it is looked: whoever adds from now on calls again, at worst in vain.
        self._called = False
        try:
            while self._told:
                who, what = self._told.popleft()
                who(what)
        finally:
            # A mistake in one is for the loop to tell, and nobody else's.
            if self._told:
                self.loop.call_soon(self._deliver)
