"""SQLite as the ledger's database: for one host, any number of processes."""

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
#: The same for whoever looks up and notes notifications: what waits for it is a webhook.
SEEN_TIMEOUT = 1.0
#: Seconds between two tries to switch a new ledger to a write-ahead log.
WAL_PAUSE = 0.01

#: A commit is on the disk when it returns; without that a claim could be lost with the power.
_DURABLE = ("synchronous = FULL",)
#: Pages of 4 KiB in the log from which who notes notifications copies them into the ledger, which waits for the disk.
#: SQLite's own 1,000 are two seconds' notes, and each time whoever asks meanwhile waits, one webhook in a hundred.
SEEN_CHECKPOINT = 10_000
_SEEN = ("synchronous = NORMAL", f"wal_autocheckpoint = {SEEN_CHECKPOINT}")

#: What a file is known by: its device and its number on it.
_File: TypeAlias = tuple[int, int]


def open_sqlite(path: str, *, busy_timeout: float = BUSY_TIMEOUT) -> SqlLedger:
    """Open the ledger in the file `path`; creates what is missing, readable by its owner alone.

    `busy_timeout` is in seconds.

    Raises:
        LedgerUnavailable: the file can't be opened or is no ledger of ours.
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
            # SQLite says what is wrong and not with which file.
            raise LedgerUnavailable(f"{path}: {e}") from e
        raise
    return ledger


def open_sqlite_seen(path: str) -> SqlSeen:
    """Open the memory of notifications in the ledger `path`, which is there.

    What it notes outlives this process, and need not outlive a loss of power: a repeat that is not known any more is an
    event with the same id, and whoever posts waits for no disk but the broker's.
    """
    return SqlSeen(_unlocked(path, SEEN_TIMEOUT, _SEEN))


def open_sqlite_receipts(path: str) -> SqlReceipts:
    """Open what is known of awaited receipts in the ledger `path`, which is there."""
    return SqlReceipts(_unlocked(path, BUSY_TIMEOUT))


def sqlite_reader(path: str) -> Engine:
    """Return an engine to read the ledger in the file `path` with; it holds up nobody who writes.

    Raises:
        LedgerUnavailable: there is no such file.
        LedgerUnusable: every user of the machine can write to it.

    """
    check_file(path)
    if not Path(path).is_file():
        raise LedgerUnavailable(
            f"{path}: there is no ledger yet: a worker makes it, or `bridge ledger migrate`"
        )
    return _unlocked(path, BUSY_TIMEOUT)


def check_file(path: str) -> None:
    """Check that a ledger, if it is there, is written to by its users alone.

    Raises:
        LedgerUnusable: every user of the machine can write to it, and have messages sent again or never.

    """
    for name in (path, f"{path}-wal", f"{path}-shm"):
        if others_can_write(Path(name)):
            raise LedgerUnusable(
                f"{name}: every user of this machine can write to the ledger: chmod o-w it, and check what was changed"
            )


class LedgerFile:
    """A ledger's file, which one transaction at a time writes to.

    Each checks that the path, and that of the write-ahead log, still name the files that they named. The log is there
    from the first transaction on for as long as somebody has the ledger open; checkpoints keep it.
    """

    statements = SQLITE

    def __init__(self, path: str, busy_timeout: float) -> None:
        self.engine = _engine(path, busy_timeout)
        self._path, self._log_path = path, f"{path}-wal"
        self._ledger = _file(path)
        #: Of the log; nothing before the first transaction, and None for what has none.
        self._log: list[_File | None] = []
        # With the last connection the log goes, and a new one is expected.
        event.listen(self.engine, "close", lambda *_: self._log.clear())

    @contextmanager
    def transaction(self, _needs: object = (), _check: object = None) -> Iterator[Connection]:
        """Commit what the block does, which has the file alone: a file has one lock and no lineage."""
        try:
            with self.engine.connect() as connection:
                # Takes the write lock before anything is read, so that what was read still holds when it is written.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection
                self._check_files()
                connection.commit()
        except (SQLAlchemyError, OSError) as e:
            raise unavailable(e) from e

    def time(self, _check: object) -> None:
        """Return no time but the machine's."""
        self._check_files()

    def lineage_of(self, _connection: object) -> None:
        """Return no lineage: what becomes of a file is seen by its name."""

    def _check_files(self) -> None:
        """Raise LedgerUnusable where a file was replaced: what is committed to a file without a name is lost."""
        log = _file(self._log_path)
        if not self._log:
            self._log.append(log)
        for path, found, expected in (
            (self._path, _file(self._path), self._ledger),
            (self._log_path, log, self._log[0]),
        ):
            if found != expected:
                raise LedgerUnusable(
                    f"{path}: the ledger's file was removed or replaced while it was in use; put that one back before "
                    "the next start, or see docs/operations.md, Replace a lost ledger"
                )


def _file(path: str) -> _File | None:
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        return None
    except OSError as e:
        raise LedgerUnavailable(f"{path}: {e.strerror}") from e
    return found.st_dev, found.st_ino


def _unlocked(path: str, busy_timeout: float, pragmas: Collection[str] = _DURABLE) -> Engine:
    """Return an engine whose transactions take no lock to read with."""
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
    # Python's driver begins transactions by itself, and too late to lock what is read; we begin them.
    connection.isolation_level = None
    _use_write_ahead_log(connection, busy_timeout)
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")


def _use_write_ahead_log(connection: sqlite3.Connection, busy_timeout: float) -> None:
    """Wait by ourselves for others that do the same: SQLite's busy timeout does not hold for this.

    It matters once, when several processes open a new ledger; of four threads that do, one in six failed.
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
