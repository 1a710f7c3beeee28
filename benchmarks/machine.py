"""The costs of processes: processor seconds and bytes of memory, children included (proc(5))."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """Return `pid` and the processes that it and its children started."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += tree(int(child))
    return found


def processor_seconds(pid: int) -> float:
    """Return the seconds of processor that `pid` and its children have used."""
    return sum(map(_seconds, tree(pid)))


def busy_seconds() -> float:
    """Return the seconds in which all processors together were not idle."""
    fields = [int(ticks) for ticks in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    # The fourth and fifth are idle, the fifth for a disk.
    return (sum(fields) - fields[3] - fields[4]) / _TICKS


def threads(pid: int) -> dict[int, float]:
    """Return the seconds of processor that each of a process's threads has used, by its id."""
    ids = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    return {thread: _seconds_of(f"/proc/{pid}/task/{thread}/stat") for thread in ids}


def memory(pid: int) -> float:
    """Return the MB that `pid` and its children have in memory, what they share counted once (PSS)."""
    return sum(map(_megabytes, tree(pid)))


def _seconds(pid: int) -> float:
    return _seconds_of(f"/proc/{pid}/stat")


def _seconds_of(file: str) -> float:
    with contextlib.suppress(OSError):
        fields = Path(file).read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS
    return 0.0


def _megabytes(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0
