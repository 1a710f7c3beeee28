"""The spool's directory: readable by its owner alone, and one process's at a time."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from bridge.ports import SpoolUnavailable

if TYPE_CHECKING:
    from pathlib import Path

#: Held by the process whose spool it is; it goes with the process, however that ends.
LOCK = "lock"
#: Room that is given up when the disk is full: to forget what the broker has takes room, too.
RESERVE = "reserve"
RESERVE_BYTES = 2 * 1024 * 1024


class Directory:
    """A directory that is ours."""

    def __init__(self, path: Path) -> None:
        """Make it where it is missing, and lock it.

        Raises:
            SpoolUnavailable: it can't be made or written to, or is another process's.

        """
        self.path = path
        self._lock = _locked(path)

    def hold(self) -> None:
        """See that what is at the path is ours; where it is not any more, make it and lock it as at first.

        Raises:
            SpoolUnavailable: it can't be made or written to, or is another process's.

        """
        if not _same_file(self._lock, self.path / LOCK):
            before, self._lock = self._lock, _locked(self.path)
            os.close(before)

    def release(self) -> None:
        """Let another process have it."""
        os.close(self._lock)

    def sync(self) -> None:
        """Have the names in it on the disk.

        Raises:
            OSError: they can't be.

        """
        _sync(self.path)

    def reserve(self) -> None:
        """Take the reserve, where there is room for it."""
        path = self.path / RESERVE
        if path.exists():
            return
        try:
            path.touch(mode=0o600)
            path.write_bytes(bytes(RESERVE_BYTES))
        except OSError:
            self.give_up_reserve()

    def give_up_reserve(self) -> None:
        """Make room."""
        with suppress(OSError):
            (self.path / RESERVE).unlink()

    def free_name(self, name: str) -> Path:
        """Return a path that begins like `name` and is not taken."""
        number = 1
        while (path := self.path / f"{name}-{number}").exists():
            number += 1
        return path


def _same_file(descriptor: int, path: Path) -> bool:
    """Tell whether `path` leads to what is open."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _locked(path: Path) -> int:
    try:
        if not path.is_dir():
            path.mkdir(mode=0o700, parents=True)
            _sync(path.parent)
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise SpoolUnavailable(f"{path}: {e.strerror}") from e
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(lock)
        raise SpoolUnavailable(f"{path}: another process has it; each ingest needs a spool of its own") from e
    return lock


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
