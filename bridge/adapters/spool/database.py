"""Connections to the spool's database, all with the same settings; a commit is on the disk when it returns."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bridge.adapters.spool.rows import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Seconds for which another process that reads the database may block a change.
BUSY_TIMEOUT = 0.25
#: Pages in the write-ahead log before a checkpoint copies them to the database: 1 MiB.
CHECKPOINT_PAGES = 256
PAGE_BYTES = 4096

#: The files of one database, the main one last.
SUFFIXES = ("-wal", "-shm", "-journal", "")

#: SQLite's error codes for a damaged file, and for a full disk (a file that cannot be created or extended).
DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
DISK_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})

_WAL_HEADER, _FRAME_HEADER = 32, 24


def connect(path: Path) -> sqlite3.Connection:
    """Open the database in the file `path`; a missing file is created with permissions for its owner only.

    Raises:
        OSError: the file can't be created.
        sqlite3.Error: it can't be opened, or is not a database.

    """
    path.touch(mode=0o600)
    # Transactions begin explicitly. Text that is not UTF-8 any more is found by the checksum.
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
    connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
    try:
        if path.stat().st_size == 0:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        for pragma in (
            "journal_mode = WAL",
            # One fsync for each commit. Without it, a power failure could lose an event that was answered 2xx.
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


def open_database(path: Path) -> tuple[sqlite3.Connection, int | None]:
    """Open the database and create what is missing.

    Returns with it the number of frames at the end of its log that could not be read; None if the disk is too full to
    find out. Events can be read from it then.

    Raises:
        OSError, sqlite3.Error: as `connect`.

    """
    written = written_frames(path)
    connection = connect(path)
    try:
        try:
            truncated: int | None = max(0, written - checkpoint(connection, "PASSIVE"))
        except sqlite3.Error as e:
            if code_of(e) not in DISK_FULL:
                raise
            truncated = None
        create_tables(connection)
        sync(path.parent)
    except BaseException:
        connection.close()
        raise
    return connection, truncated


def create_tables(connection: sqlite3.Connection) -> None:
    """Create missing tables."""
    with transaction(connection):
        for statement in SCHEMA:
            connection.execute(statement)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit the block, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def code_of(error: sqlite3.Error) -> int:
    """Return SQLite's primary code for an error; 0 if it has none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def beside(path: Path, suffix: str) -> Path:
    """Return the file of a database with one of the `SUFFIXES`."""
    return path.with_name(path.name + suffix)


def rename(path: Path, to: Path) -> None:
    """Rename a database and its logs within their directory, durably.

    Each file has its new name before any loses its old one: a crash in between leaves two complete copies, and another
    call completes it.

    Raises:
        OSError: it can't be done, or another file has the new name.

    """
    suffixes = [suffix for suffix in SUFFIXES if beside(path, suffix).exists()]
    for suffix in suffixes:
        if not is_linked(beside(path, suffix), beside(to, suffix)):
            beside(to, suffix).hardlink_to(beside(path, suffix))
    sync(to.parent)
    for suffix in suffixes:
        beside(path, suffix).unlink()
    sync(to.parent)


def is_linked(path: Path, to: Path) -> bool:
    """Return whether two names lead to the same file."""
    return to.exists() and path.samefile(to)


def sync(directory: Path) -> None:
    """Sync the names in a directory to the disk.

    Raises:
        OSError: they can't be synced.

    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def files_at(path: Path) -> tuple[tuple[int, int] | None, ...]:
    """Return the device and inode numbers of a database and of its logs, the database first.

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
    """Copy the log into the database; return the number of its valid frames."""
    _, frames, _ = _checkpoint(connection, how)
    return max(frames, 0)


def empty_log(connection: sqlite3.Connection) -> None:
    """Copy the whole log into the database.

    Raises:
        sqlite3.Error: a part of it is still only in the log.

    """
    busy, _, _ = _checkpoint(connection, "TRUNCATE")
    if busy:
        raise sqlite3.OperationalError("another process reads it")


def _checkpoint(connection: sqlite3.Connection, how: str) -> tuple[int, int, int]:
    """Return whether another process blocked it, the number of valid frames in the log, and of those copied."""
    done: tuple[int, int, int] = connection.execute(f"PRAGMA wal_checkpoint({how})").fetchone()
    return done


def written_frames(path: Path) -> int:
    """Return how many frames were written to the log of the database `path` since the last checkpoint that emptied it.

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
