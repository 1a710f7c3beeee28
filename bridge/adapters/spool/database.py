"""Opening the spool's database: every connection is alike, and a commit is on the disk when it returns."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bridge.adapters.spool.rows import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Seconds that another process that reads the database may block a change.
BUSY_TIMEOUT = 0.25
#: Pages in the write-ahead log before they go to the database: 1 MiB.
CHECKPOINT_PAGES = 256
PAGE_BYTES = 4096

#: The files of one database, the main one last.
SUFFIXES = ("-wal", "-shm", "-journal", "")

#: SQLite's codes for a damaged file, and for a disk that takes no more.
DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
DISK_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})

_WAL_HEADER, _FRAME_HEADER = 32, 24


def connect(path: Path) -> sqlite3.Connection:
    """Open the database in the file `path`, which is made where it is missing, for its owner alone.

    Raises:
        OSError: the file can't be made.
        sqlite3.Error: it can't be opened, or is not a database.

    """
    path.touch(mode=0o600)
    # Transactions begin explicitly. The checksum finds text that is not UTF-8 any more.
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
    connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
    try:
        if path.stat().st_size == 0:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        for pragma in (
            "journal_mode = WAL",
            # One fsync for each commit. Without it, what was answered could be lost with the power.
            "synchronous = FULL",
            f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
            # Deleted events leave no text in the file.
            "secure_delete = ON",
        ):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the tables that are missing."""
    with transaction(connection):
        for statement in SCHEMA:
            connection.execute(statement)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what is done within, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def code_of(error: sqlite3.Error) -> int:
    """Return SQLite's own code for an error, without the details; 0 where it has none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def beside(path: Path, suffix: str) -> Path:
    """Return the file of a database that has one of the `SUFFIXES`."""
    return path.with_name(path.name + suffix)


def rename(path: Path, to: Path) -> None:
    """Give a database and its logs another name in the same directory, whose files are then on the disk.

    Each file has its new name before any loses its old one: a crash in between leaves two copies, not a half.

    Raises:
        OSError: it can't be done.

    """
    suffixes = [suffix for suffix in SUFFIXES if beside(path, suffix).exists()]
    for suffix in suffixes:
        beside(to, suffix).hardlink_to(beside(path, suffix))
    sync(to.parent)
    for suffix in suffixes:
        beside(path, suffix).unlink()
    sync(to.parent)


def sync(directory: Path) -> None:
    """Have the names in a directory on the disk.

    Raises:
        OSError: they can't be.

    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def files_at(path: Path) -> tuple[tuple[int, int] | None, ...]:
    """Return which files are at the path of a database and of its logs, the database first.

    An open connection continues with its own files; the next process that opens the database finds these.
    """
    return tuple(_identity(beside(path, suffix)) for suffix in ("", "-wal", "-shm"))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def checkpoint(connection: sqlite3.Connection, how: str = "TRUNCATE") -> int:
    """Bring what the log holds into the database; returns how many of its frames were good."""
    _, frames, _ = _checkpoint(connection, how)
    return max(frames, 0)


def empty_log(connection: sqlite3.Connection) -> None:
    """Bring all that the log holds into the database.

    Raises:
        sqlite3.Error: something of it is still in the log alone.

    """
    busy, _, _ = _checkpoint(connection, "TRUNCATE")
    if busy:
        raise sqlite3.OperationalError("another process reads it")


def _checkpoint(connection: sqlite3.Connection, how: str) -> tuple[int, int, int]:
    """Return whether another process blocked it, the number of good frames in the log, and of those copied."""
    done: tuple[int, int, int] = connection.execute(f"PRAGMA wal_checkpoint({how})").fetchone()
    return done


def written_frames(path: Path) -> int:
    """Return how many frames were written to the log of the database `path` since it last began anew.

    SQLite silently stops at the first damaged frame; this number includes the frames behind it
    (https://sqlite.org/fileformat2.html#walformat). Call it before the database is opened.
    """
    log = beside(path, "-wal")
    if not log.exists():
        return 0
    written, length = 0, _FRAME_HEADER + PAGE_BYTES
    with log.open("rb") as file:
        salts = file.read(_WAL_HEADER)[16:24]
        for number, offset in enumerate(range(_WAL_HEADER, os.fstat(file.fileno()).st_size, length), 1):
            file.seek(offset)
            if file.read(_FRAME_HEADER)[8:16] == salts:
                written = number
    return written
