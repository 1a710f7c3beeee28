"""Shutdown by SIGTERM or Ctrl-C; a second signal ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import structlog

from bridge.ops import service_manager as notify_systemd

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def end_at_once() -> None:
    """End the process. Unacknowledged deliveries return to the queue; the ledger has the calls that were made."""
    os._exit(1)


class Stopping:
    """The request to stop the process, and its exit code."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self._again = end_at_once
        self._code = 0
        self._asked = False

    def install(self, again: Callable[[], None] = end_at_once) -> None:
        """Install the signal handlers, from the main thread. `again` is called at each signal after the first."""
        self._again = again
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)

    def crash(self, code: int = 1) -> None:
        """Stop the process with an exit code, because something that it needs has failed."""
        self._code = code
        self.event.set()

    def wait(self) -> int:
        """Wait for the request to stop; returns the exit code."""
        self.event.wait()
        notify_systemd.stopping()
        structlog.get_logger().info("process.stopping", crashed=self._code != 0)
        return self._code

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked:
            # Nothing else: the signal may have interrupted `event.set`, which holds the event's lock.
            self._again()
            return
        self._asked = True
        self.event.set()
