"""Which processor cores this process runs on, and how (sched(7), proc(5)); Linux alone lets us choose."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_THREADS = Path("/proc/self/task")
#: Where a thread's last core stands after the name in /proc/self/task/ID/stat.
_PROCESSOR = 36


def allowed() -> frozenset[int]:
    """Return the cores that this thread may run on; none where that can't be told."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


def are_shared_fairly() -> bool:
    """Tell whether nobody has chosen another way for us to come to a core than all have, as a unit's settings may."""
    return os.sched_getscheduler(0) == os.SCHED_OTHER


def core_of(thread_id: int) -> int:
    """Return the core that one of our threads, by its native id, ran on last.

    Raises:
        OSError: there is no such thread.

    """
    stat = (_THREADS / str(thread_id) / "stat").read_text(encoding="ascii", errors="replace")
    return int(stat.rpartition(")")[2].split()[_PROCESSOR])


def confine(core: int) -> None:
    """Have all our threads run on this core alone, and none of them interrupt another one because it was woken.

    Threads begin with the cores of who starts them.

    Raises:
        OSError: that is not allowed, or there is no such core any more.

    """
    _place(frozenset({core}), os.SCHED_BATCH)


def release(cores: frozenset[int]) -> None:
    """Have all our threads run on any of these cores, and as soon as they are woken.

    Raises:
        OSError: as `confine` does.

    """
    _place(cores, os.SCHED_OTHER)


def _place(cores: frozenset[int], policy: int) -> None:
    placed: set[str] = set()
    # Who is placed already may still have been started by one who was not.
    while new := {thread.name for thread in _THREADS.iterdir()} - placed:
        for thread in new:
            # It may have ended meanwhile.
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), cores)
                os.sched_setscheduler(int(thread), policy, os.sched_param(0))
        placed |= new
