"""Keeps a busy process on one processor core, the one on which the scheduler would have its busiest thread.

Of a Python process one thread runs at a time, the one that holds the interpreter's lock. Where there are several cores,
each thread that gives the lock up for a moment, for a system call, finds it taken by another one on another core, waits
and is woken across cores: that was a third of what a message cost. On one core it mostly has the lock back at once, all
the more where a thread that is woken does not interrupt the one that wakes it (docs/internals/performance.md).

A process that has little to do pays for it and gains nothing: what it waits for on its core, behind another process, it
could have begun on a free one. So it is confined while it is busy. Linux alone lets us choose: sched(7), proc(5).
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

#: Seconds after which the scheduler chooses again: two processes may have come to the same core.
CONFINED = 10.0
#: Seconds between two measurements: while the scheduler chooses, and while the process is confined, since to come and
#: go costs a system call or two for each thread.
POLL = 0.1
LONG_LOOK = 1.0
#: The share of a core from which a process is busy.
BUSY = 0.3

_THREADS = Path("/proc/self/task")
#: Where a thread's last core stands after the name in /proc/self/task/ID/stat.
_PROCESSOR = 36


class OneCore(BackgroundWorker):
    """Confines all threads of the process while they are busy; where it can not, nothing happens."""

    def __init__(self, busiest: Callable[[], int | None]) -> None:
        """`busiest` returns the native id of the thread that works most; None while there is none."""
        super().__init__("one-core")
        self._busiest = busiest
        self._allowed = (
            frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()
        )
        #: Until when the process is confined, if it is: `time.monotonic` seconds.
        self._until: float | None = None
        #: The processor's time and the clock's at the last measurement.
        self._spent, self._at = time.process_time(), time.monotonic()

    def start(self) -> None:
        """Begin, where there is a choice that a unit's settings have not made."""
        if len(self._allowed) > 1 and os.sched_getscheduler(0) == os.SCHED_OTHER:
            super().start()

    def run_once(self) -> float | None:
        """Confine the process if it is busy, and let it go if it is not, or has been confined for long."""
        try:
            is_busy = self._is_busy()
            if self._until is None and is_busy and (thread_id := self._busiest()) is not None:
                # No thread interrupts another one because it was woken.
                _place(frozenset({_core_of(thread_id)}), os.SCHED_BATCH)
                self._until = self._at + CONFINED
            elif self._until is not None and (not is_busy or self._at >= self._until):
                self._release()
        except OSError as e:
            # Forbidden, or the core was taken from us since: it costs time and nothing else.
            self._log.info("process.not_pinned", reason=e.strerror, hint="worker.one_core = false")
            return None
        return POLL if self._until is None else LONG_LOOK

    def close(self) -> None:
        """Let the process run where it likes again."""
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
    """Return the core that a thread of ours ran on last."""
    stat = (_THREADS / str(thread_id) / "stat").read_text(encoding="ascii", errors="replace")
    return int(stat.rpartition(")")[2].split()[_PROCESSOR])


def _place(cores: frozenset[int], policy: int) -> None:
    """Have all our threads run on these cores; a thread begins with the cores of the one that starts it."""
    placed: set[str] = set()
    # One that is placed already may still have been started by one that was not.
    while new := {thread.name for thread in _THREADS.iterdir()} - placed:
        for thread in new:
            # It may have ended meanwhile.
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), cores)
                os.sched_setscheduler(int(thread), policy, os.sched_param(0))
        placed |= new
