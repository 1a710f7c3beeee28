"""CPU affinity: confines a busy process to one core, the core of its busiest thread.

One thread of a Python process runs at a time: the one that holds the interpreter's lock. On several cores, a thread
that releases the lock for a system call finds it taken by a thread on another core, waits, and is woken across cores.
That was a third of the cost of a message. On one core the thread mostly gets the lock back at once, especially where a
woken thread does not interrupt the thread that wakes it (docs/internals/performance.md).

An idle process would gain nothing and might wait behind another process although another core is free. The process is
therefore confined only while it is busy. This needs Linux: sched(7), proc(5).
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.concurrency.background_worker import BackgroundWorker

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds after which the scheduler chooses a core again: two processes may have been confined to the same core.
CONFINED = 10.0
#: Seconds between two measurements. It is longer while the process is confined, because each change costs one or two
#: system calls for each thread.
POLL = 0.1
CONFINED_POLL = 1.0
#: A process that uses this share of a core or more is busy.
BUSY = 0.3

_THREADS = Path("/proc/self/task")
#: Index of a thread's last core, after the name, in /proc/self/task/ID/stat.
_PROCESSOR = 36


class OneCore(BackgroundWorker):
    """Confines all threads of the process while it is busy; if the system refuses, it changes nothing."""

    def __init__(self, busiest: Callable[[], int | None]) -> None:
        """`busiest` returns the native id of the busiest thread; None before it has started."""
        super().__init__("one-core")
        self._busiest = busiest
        self._allowed = (
            frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()
        )
        #: The end of the confinement in `time.monotonic` seconds; None while the process is not confined.
        self._until: float | None = None
        #: CPU time and monotonic time of the last measurement.
        self._spent, self._at = time.process_time(), time.monotonic()

    def start(self) -> None:
        """Begin if the process may use several cores and has the default scheduling policy."""
        if len(self._allowed) > 1 and os.sched_getscheduler(0) == os.SCHED_OTHER:
            super().start()

    def run_once(self) -> float | None:
        """Confine the process if it is busy; release it if it is idle or was confined for `CONFINED` seconds."""
        try:
            is_busy = self._is_busy()
            if self._until is None and is_busy and (thread_id := self._busiest()) is not None:
                # With SCHED_BATCH a woken thread does not interrupt another one.
                _place(frozenset({_core_of(thread_id)}), os.SCHED_BATCH)
                self._until = self._at + CONFINED
            elif self._until is not None and (not is_busy or self._at >= self._until):
                self._release()
        except OSError as e:
            # Not permitted, or the core is no longer allowed. This costs time only.
            self._log.info("process.not_pinned", reason=e.strerror, hint="worker.one_core = false")
            return None
        return POLL if self._until is None else CONFINED_POLL

    def close(self) -> None:
        """Let the process run on all its cores again."""
        with suppress(OSError):
            self._release()

    def _release(self) -> None:
        if self._until is not None:
            self._until = None
            _place(self._allowed, os.SCHED_OTHER)

    def _is_busy(self) -> bool:
        spent, at = self._spent, self._at
        self._spent, self._at = time.process_time(), time.monotonic()
        return self._spent - spent >= BUSY * (self._at - at)


def _core_of(thread_id: int) -> int:
    """Return the core on which a thread of this process ran last."""
    stat = (_THREADS / str(thread_id) / "stat").read_text(encoding="ascii", errors="replace")
    return int(stat.rpartition(")")[2].split()[_PROCESSOR])


def _place(cores: frozenset[int], policy: int) -> None:
    """Set the cores and the policy of all threads. A new thread inherits those of the thread that starts it."""
    placed: set[str] = set()
    # A thread that was not placed yet may have started another one since the last listing.
    while new := {thread.name for thread in _THREADS.iterdir()} - placed:
        for thread in new:
            # The thread may have ended since the listing.
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), cores)
                os.sched_setscheduler(int(thread), policy, os.sched_param(0))
        placed |= new
