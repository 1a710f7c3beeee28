"""Events and inboxes through which the connection's thread wakes tasks of an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.messages import Delivery


class LoopEvent:
    """An event of the running loop that any thread may set."""

    def __init__(self) -> None:
        """Belong to the loop that runs now."""
        self.loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake the task that waits; also from a signal's handler."""
        # A loop that was closed has no task left to wake.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._event.set)

    def clear(self) -> None:
        """Make the next `wait` wait for another `set`."""
        self._event.clear()

    async def wait(self, timeout: float | None = None) -> None:
        """Return once it is set, or `timeout` seconds are over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._event.wait()


class Inbox:
    """Deliveries on their way from the connection's thread to one task; None makes the task check its state."""

    def __init__(self) -> None:
        self._waiting: deque[Delivery | None] = deque()
        self._arrived: LoopEvent | None = None

    def put(self, delivery: Delivery | None) -> None:
        """Add a delivery at the end. On any thread, and in a signal's handler."""
        self._waiting.append(delivery)
        if self._arrived is not None:
            self._arrived.set()

    def put_back(self, delivery: Delivery) -> None:
        """Make a delivery the next again."""
        self._waiting.appendleft(delivery)

    async def get(self) -> Delivery | None:
        """Return what is next. Lets other tasks run first, also where there is no need to wait."""
        if self._arrived is None or self._arrived.loop is not asyncio.get_running_loop():
            self._arrived = LoopEvent()
        await asyncio.sleep(0)
        while not self._waiting:
            self._arrived.clear()
            # Something may have come, and its `set` have run, before `clear`.
            if not self._waiting:
                await self._arrived.wait()
        return self._waiting.popleft()


async def run_aside(function: Callable[[], object]) -> None:
    """Run a function that blocks briefly at the end of a connection, on a separate thread.

    Not the loop's pool: a full one would keep the connection open.
    """
    done = LoopEvent()

    def run() -> None:
        try:
            function()
        finally:
            done.set()

    threading.Thread(target=run, name="sms-bridge client closing", daemon=True).start()
    await done.wait()
