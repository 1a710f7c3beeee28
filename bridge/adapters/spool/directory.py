"""The spool's directory: readable by its owner only, and locked by one process."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from bridge.adapters.spool.database import rename, sync
from bridge.domain.masks import Shown
from bridge.ports import SpoolUnavailable

if TYPE_CHECKING:
    from pathlib import Path

#: The lock file of the process that uses the spool; the lock ends with the process in any case.
LOCK = "lock"
#: A file whose space is freed when the disk is full: deleting events takes space too.
RESERVE = "reserve"
RESERVE_BYTES = 2 * 1024 * 1024
#: The beginning and the end of quarantined databases' names.
DAMAGED, SUFFIX = "damaged-", ".sqlite3"


def is_quarantined(path: Path) -> bool:
    """Return whether a path leads to a file that has the name of a quarantined database."""
    file = path.resolve()
    return file.is_file() and file.name.startswith(DAMAGED) and file.name.endswith(SUFFIX)


def quarantined_in(directory: Path) -> list[Path]:
    """Return the quarantined databases of a spool, the oldest first; none if the directory can't be read."""
    return sorted(path for path in directory.glob(f"{DAMAGED}*{SUFFIX}") if is_quarantined(path))


def recovery_hint(path: Path) -> Shown:
    """Return the command for an operator who reads of a quarantined database in the log."""
    # The time in its name is not a phone number.
    return Shown(f"its events are not published until you run: bridge spool recover {path}")


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

    def reserve(self) -> None:
        """Write the reserve file, if there is space for it."""
        path = self.path / RESERVE
        if path.exists():
            return
        try:
            path.touch(mode=0o600)
            path.write_bytes(bytes(RESERVE_BYTES))
        except OSError:
            self.free_reserve()

    def free_reserve(self) -> None:
        """Delete the reserve file, so that its space can be used."""
        with suppress(OSError):
            (self.path / RESERVE).unlink()

    def quarantine(self, database: Path) -> Path:
        """Rename a database to a name with the time; return its new path.

        Raises:
            OSError: it can't be renamed.

        """
        aside = self._free_path(f"{DAMAGED}{time.strftime('%Y-%m-%dT%H-%M-%SZ', time.gmtime())}")
        rename(database, aside)
        return aside

    def _free_path(self, name: str) -> Path:
        path, number = self.path / f"{name}{SUFFIX}", 1
        while path.exists():
            number += 1
            path = self.path / f"{name}-{number}{SUFFIX}"
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
