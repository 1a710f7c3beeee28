"""The ledger in SQLite, for any number of processes on one host."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from sqlalchemy import URL, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from bridge.adapters.permissions import others_can_write
from bridge.adapters.store.ledger import SqlLedger, unavailable
from bridge.adapters.store.receipts import SqlReceipts
from bridge.adapters.store.seen import SqlSeen
from bridge.adapters.store.statements import SQLITE
from bridge.ports import LedgerUnavailable, LedgerUnusable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sqlalchemy import Connection, Engine

#: Seconds to wait for another process's transaction before the ledger counts as unavailable.
BUSY_TIMEOUT = 5.0
#: The same where notifications are read and recorded: a webhook waits for it.
SEEN_TIMEOUT = 1.0
#: Seconds between two attempts to switch a new ledger to a write-ahead log.
WAL_PAUSE = 0.01

#: A commit is on the disk when it returns: otherwise a power failure could lose a claim.
_DURABLE = ("synchronous = FULL",)
#: Pages of 4 KiB in the log after which the store of notifications runs a checkpoint, which waits for the disk.
#: SQLite's default of 1,000 is two seconds' notifications, and lookups wait at each one: one webhook in a hundred.
SEEN_CHECKPOINT = 10_000
_SEEN = ("synchronous = NORMAL", f"wal_autocheckpoint = {SEEN_CHECKPOINT}")

#: A file's device and inode numbers.
_FileId: TypeAlias = tuple[int, int]


def open_sqlite(path: str, *, busy_timeout: float = BUSY_TIMEOUT) -> SqlLedger:
    """Open the ledger in the file `path`; create missing files, readable by their owner alone.

    `busy_timeout` is in seconds.

    Raises:
        LedgerUnavailable: the file can't be opened or is not this bridge's ledger.
        LedgerUnusable: every user of the machine can write to it.

    """
    check_file(path)
    try:
        Path(path).touch(mode=0o600)
    except OSError as e:
        raise LedgerUnavailable(f"{path}: {e.strerror}") from e
    ledger = SqlLedger(LedgerFile(path, busy_timeout))
    try:
        ledger.open()
    except BaseException as e:
        ledger.close()
        if type(e) is LedgerUnavailable:
            # SQLite's error does not name the file.
            raise LedgerUnavailable(f"{path}: {e}") from e
        raise
    return ledger


def open_sqlite_seen(path: str) -> SqlSeen:
    """Open the store of seen notifications in the existing ledger `path`.

    Its records survive a crash of the process and need not survive a power failure: a forgotten repeat is published as
    an event with the same id. So a webhook waits for no disk but the broker's.
    """
    return SqlSeen(_unlocked(path, SEEN_TIMEOUT, _SEEN))


def open_sqlite_receipts(path: str) -> SqlReceipts:
    """Open the store of pending receipts in the existing ledger `path`."""
    return SqlReceipts(_unlocked(path, BUSY_TIMEOUT))


def sqlite_reader(path: str) -> Engine:
    """Return an engine that reads the ledger in the file `path` and does not block writers.

    Raises:
        LedgerUnavailable: the file does not exist.
        LedgerUnusable: every user of the machine can write to it.

    """
    check_file(path)
    if not Path(path).is_file():
        raise LedgerUnavailable(
            f"{path}: there is no ledger yet: start a worker, or run `bridge ledger migrate`"
        )
    return _unlocked(path, BUSY_TIMEOUT)


def check_file(path: str) -> None:
    """Check that not every user of the machine can write to a ledger, if it exists.

    Raises:
        LedgerUnusable: every user can write to it, and so cause messages to be sent again or never.

    """
    for name in (path, f"{path}-wal", f"{path}-shm"):
        if others_can_write(Path(name)):
            raise LedgerUnusable(
                f"{name}: every user of this machine can write to the ledger: chmod o-w it, and check what was changed"
            )


class LedgerFile:
    """A ledger's file; one transaction at a time writes to it.

    Each transaction checks that the paths of the file and of its write-ahead log still name the same files. The log
    exists from the first transaction until the last process closes the ledger; checkpoints keep it.
    """

    statements = SQLITE

    def __init__(self, path: str, busy_timeout: float) -> None:
        self.engine = _engine(path, busy_timeout)
        self._path, self._log_path = path, f"{path}-wal"
        self._ledger = _file_id(path)
        #: The log's file: empty before the first transaction; None for a ledger without a log.
        self._log: list[_FileId | None] = []
        # SQLite deletes the log with the last connection; the next one creates another.
        event.listen(self.engine, "close", lambda *_: self._log.clear())

    @contextmanager
    def transaction(self, _read_sets: object = (), _check: object = None) -> Iterator[Connection]:
        """Commit the block with the file locked: a file has one lock and no lineage."""
        try:
            with self.engine.connect() as connection:
                # Takes the write lock before the first read, so that the read data is still valid when it is written.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection
                self._check_files()
                connection.commit()
        except (SQLAlchemyError, OSError) as e:
            raise unavailable(e) from e

    def time(self, _check: object) -> None:
        """Return None: the machine's clock is used."""
        self._check_files()

    def lineage_of(self, _connection: object) -> None:
        """Return None: a replaced file is detected by its inode."""

    def _check_files(self) -> None:
        """Raise LedgerUnusable if a file was replaced: commits to a file without a name are lost."""
        log = _file_id(self._log_path)
        if not self._log:
            self._log.append(log)
        for path, found, expected in (
            (self._path, _file_id(self._path), self._ledger),
            (self._log_path, log, self._log[0]),
        ):
            if found != expected:
                raise LedgerUnusable(
                    f"{path}: the ledger's file was removed or replaced while it was in use; put that one back before "
                    "the next start, or see docs/operations.md, Replace a lost ledger"
                )


def _file_id(path: str) -> _FileId | None:
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        return None
    except OSError as e:
        raise LedgerUnavailable(f"{path}: {e.strerror}") from e
    return found.st_dev, found.st_ino


def _unlocked(path: str, busy_timeout: float, pragmas: Collection[str] = _DURABLE) -> Engine:
    """Return an engine whose transactions read without a lock."""
    engine = _engine(path, busy_timeout, pragmas)
    event.listen(engine, "begin", _begin)
    return engine


def _engine(path: str, busy_timeout: float, pragmas: Collection[str] = _DURABLE) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=path),
        connect_args={"timeout": busy_timeout, "check_same_thread": False},
    )
    event.listen(engine, "connect", partial(_set_up, busy_timeout, pragmas))
    return engine


def _set_up(
    busy_timeout: float, pragmas: Collection[str], connection: sqlite3.Connection, _record: object
) -> None:
    # Python's driver would begin transactions by itself, too late to lock the data that is read.
    connection.isolation_level = None
    _use_write_ahead_log(connection, busy_timeout)
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")


def _use_write_ahead_log(connection: sqlite3.Connection, busy_timeout: float) -> None:
    """Switch to a write-ahead log, retrying: SQLite's busy timeout does not apply to this statement.

    It matters when several processes open a new ledger: of four threads that did, one in six failed.
    """
    until = time.monotonic() + busy_timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as e:
            if e.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
        else:
            return
        time.sleep(WAL_PAUSE)  # noqa: TID251 - too short to be cut by a stop


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
