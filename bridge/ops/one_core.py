"""Keeps a busy process on one processor core, the one on which the scheduler would have its busiest thread.

Of a Python process one thread runs at a time, whoever has the interpreter's lock. Where there are several cores, each
of them that gives it up for a moment, for a system call, finds it taken by another one on another core, waits, and is
woken across cores: that was a third of what a message cost. On one core whoever gives it up mostly has it back at once,
all the more where a thread that is woken does not interrupt the one that wakes it (docs/performance.md).

A process that has little to do pays for it and gains nothing: what it waits for on its core, behind another process, it
could have begun on a free one. So it is confined while it is busy.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import structlog

from bridge.adapters import cores

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds between two looks whether another core would be better, as where two processes have chosen the same one.
EVERY = 10.0
#: Seconds of a look whether there is much to do; so long the scheduler has to choose.
LOOK = 0.1
#: The same while it is confined: to come and go costs a system call or two for each thread.
LONG_LOOK = 1.0
#: The share of a core from which it is much.
BUSY = 0.3


class OneCore:
    """A thread that confines all threads of the process while they are busy, and lets them choose anew meanwhile."""

    def __init__(self, busiest: Callable[[], int | None]) -> None:
        """`busiest` returns the native id of the thread that works most; None while there is none."""
        self._busiest = busiest
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="one-core", daemon=True)

    def start(self) -> None:
        """Begin; where there is nothing to choose between, nothing happens."""
        self._thread.start()

    def stop(self) -> None:
        """Let the process run where it likes again."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        allowed = cores.allowed()
        if len(allowed) < 2 or not cores.are_shared_fairly():
            return
        try:
            while not self._stopping.is_set():
                if self._is_busy(LOOK) and (thread_id := self._busiest()) is not None:
                    cores.confine(cores.core_of(thread_id))
                    until = time.monotonic() + EVERY
                    while time.monotonic() < until and self._is_busy(LONG_LOOK):
                        pass
                    cores.release(allowed)
        except OSError as e:
            # Forbidden by whoever confines us, or taken from us since: it costs time and nothing else.
            structlog.get_logger().info(
                "process.not_confined", reason=e.strerror, hint="worker.one_core = false"
            )

    def _is_busy(self, seconds: float) -> bool:
        """Watch for so long whether there is much to do; once we stop, there is not."""
        spent, began = time.process_time(), time.monotonic()
        if self._stopping.wait(seconds):
            return False
        return time.process_time() - spent >= BUSY * (time.monotonic() - began)
