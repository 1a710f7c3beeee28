"""How a process learns that it is to end: SIGTERM or Ctrl-C, and a second one that means at once."""

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
    """End the process: what is unsettled goes back to the queue, and the ledger knows what was called."""
    os._exit(1)


class Stopping:
    """Waits for the end of the process."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self._again = end_at_once
        self._code = 0
        self._asked = False

    def install(self, again: Callable[[], None] = end_at_once) -> None:
        """Take the signals; call it from the main thread. `again` is what a second one does, and each after it."""
        self._again = again
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)

    def crash(self, code: int = 1) -> None:
        """End the process with an exit code: it lacks something that it can't live without."""
        self._code = code
        self.event.set()

    def wait(self) -> int:
        """Wait until the process is to end; returns its exit code."""
        self.event.wait()
        notify_systemd.stopping()
        structlog.get_logger().info("process.stopping", crashed=self._code != 0)
        return self._code

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked:
            # And nothing else: it may have come in the middle of setting the event, whose lock is held then.
            self._again()
            return
        self._asked = True
        self.event.set()
