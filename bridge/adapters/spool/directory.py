"""The spool's directory: readable by its owner only, and locked by one process."""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING

from bridge.adapters.spool.database import rename, sync
from bridge.ports import SpoolUnavailable

if TYPE_CHECKING:
    from pathlib import Path

#: The lock file of the process that uses the spool; the lock ends with the process in any case.
LOCK = "lock"
#: The prefix of quarantined databases' names.
DAMAGED = "damaged-"


class Directory:
    """A locked directory."""

    def __init__(self, path: Path) -> None:
        """Create the directory if it is missing, and lock it.

        Raises:
            SpoolUnavailable: it can't be created or written to, or another process has it.

        """
        self.path = path
        self._lock = _locked(path)

    def hold(self) -> None:
        """Check that the directory at the path is the locked one; if not, create and lock it again.

        Raises:
            SpoolUnavailable: it can't be created or written to, or another process has it.

        """
        if not _same_file(self._lock, self.path / LOCK):
            before, self._lock = self._lock, _locked(self.path)
            os.close(before)

    def release(self) -> None:
        """Unlock the directory."""
        os.close(self._lock)

    def quarantine(self, database: Path) -> Path:
        """Rename a database to a name with the time; return its new path.

        Raises:
            OSError: it can't be renamed.

        """
        aside = self._free_path(f"{DAMAGED}{time.strftime('%Y-%m-%dT%H-%M-%SZ', time.gmtime())}")
        rename(database, aside)
        return aside

    def _free_path(self, name: str) -> Path:
        path, number = self.path / f"{name}.sqlite3", 1
        while path.exists():
            number += 1
            path = self.path / f"{name}-{number}.sqlite3"
        return path


def _same_file(descriptor: int, path: Path) -> bool:
    """Return whether `path` leads to the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _locked(path: Path) -> int:
    try:
        if not path.is_dir():
            path.mkdir(mode=0o700, parents=True)
            sync(path.parent)
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise SpoolUnavailable(f"{path}: {e.strerror}") from e
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(lock)
        raise SpoolUnavailable(f"{path}: another process has it; each ingest needs its own spool") from e
    return lock
