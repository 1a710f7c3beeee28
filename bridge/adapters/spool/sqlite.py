"""The spool in a SQLite database."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from bridge.adapters.spool import database
from bridge.adapters.spool.directory import Directory, quarantined_in, recovery_hint
from bridge.adapters.spool.rows import INSERT, SELECT, SIZE, size, spooled, values
from bridge.adapters.spool.takeover import take_over
from bridge.domain.masks import Shown
from bridge.ports import SpoolContents, Spooled, SpoolUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from bridge.domain.events import Event

T = TypeVar("T")

NAME = "events.sqlite3"

_DELETE = f"DELETE FROM events WHERE id = ? AND damaged = 0 RETURNING {SIZE}"  # noqa: S608 - as above
_TOTALS = f"SELECT count(*), coalesce(sum({SIZE}), 0) FROM events WHERE damaged = 0"  # noqa: S608 - as above
_OLDEST = "SELECT CAST(added_at AS REAL) FROM events WHERE damaged = 0 ORDER BY number LIMIT 1"


def open_spool(path: Path) -> SqliteSpool:
    """Open the spool in the directory `path`, which is created if it is missing.

    Raises:
        SpoolUnavailable: it can't be written to, or another process has it.

    """
    directory = Directory(path)
    try:
        return SqliteSpool(directory)
    except BaseException:
        directory.release()
        raise


class SqliteSpool:
    """Fills the port `Spool`."""

    def __init__(self, directory: Directory) -> None:
        """Open the database in a locked directory.

        Raises:
            SpoolUnavailable: it can't be opened or written to.

        """
        self._directory = directory
        self._path = directory.path / NAME
        self._log = structlog.get_logger().bind(spool=str(directory.path))
        self._connection: sqlite3.Connection | None = None
        #: The identities of the connection's files; empty until all of them exist.
        self._files: tuple[object, ...] = ()
        self._contents = SpoolContents(0, 0, None)
        #: Whether the database was opened before: its log is checked only the first time.
        self._opened = False
        # A full disk must not keep the events in it from the broker.
        self._attempt(self._probe, frees_reserve=True)
        directory.reserve()
        for path in self._count_quarantined():
            self._log.error("spool.not_recovered", file=Shown(path), hint=recovery_hint(path))

    @property
    def contents(self) -> SpoolContents:
        """The numbers and sizes of its contents."""
        return self._contents

    def change(self, keep: Sequence[Event], forget: Collection[str], *, now: float) -> None:
        """Add and remove events in one transaction; see `bridge.ports.Spool`."""

        def work(connection: sqlite3.Connection) -> SpoolContents:
            kept = self._kept(connection, {event.id for event in keep})
            events, bytes_ = self._contents.events, self._contents.bytes
            with database.transaction(connection):
                for event in keep:
                    if event.id not in kept:
                        connection.execute(INSERT, values(event, now))
                        kept.add(event.id)
                        events, bytes_ = events + 1, bytes_ + size(event)
                for id_ in forget:
                    gone = connection.execute(_DELETE, (id_,)).fetchall()
                    events, bytes_ = events - len(gone), bytes_ - sum(freed for (freed,) in gone)
                oldest = connection.execute(_OLDEST).fetchone()
            return replace(self._contents, events=events, bytes=bytes_, oldest_at=oldest and oldest[0])

        self._follow()
        had = self._contents.events
        self._contents = self._attempt(work, frees_reserve=not keep)
        # A commit to files that were just removed is not durable.
        self._follow()
        if had and not self._contents.events:
            self._tidy()

    def oldest(self, limit: int, *, after: int) -> list[Spooled]:
        """Return the oldest valid events; see `bridge.ports.Spool`."""

        def work(connection: sqlite3.Connection) -> list[Spooled]:
            query = f"{SELECT} AND number > ? ORDER BY number LIMIT ?"
            return self._whole(connection, connection.execute(query, (after, limit)).fetchall())

        return self._attempt(work)

    def probe(self) -> None:
        """Check whether it can be written to; see `bridge.ports.Spool`."""
        self._follow()
        self._attempt(self._probe)
        self._count_quarantined()

    def close(self) -> None:
        """Close the database and unlock the directory."""
        with suppress(SpoolUnavailable):
            self._follow()
        if self._is_in_place():
            self._disconnect()
        self._directory.release()

    def _attempt(self, work: Callable[[sqlite3.Connection], T], *, frees_reserve: bool = False) -> T:
        """Run `work`; after an error that can be handled, once more. The reserve is for work that frees space."""
        try:
            try:
                return work(self._connected())
            except sqlite3.Error as e:
                self._handle(e, frees_reserve=frees_reserve)
                return work(self._connected())
        except (sqlite3.Error, OSError) as e:
            if self._is_in_place():
                self._disconnect()
            raise SpoolUnavailable(f"{self._directory.path}: {e}") from e

    def _handle(self, error: sqlite3.Error, *, frees_reserve: bool) -> None:
        """Handle an error, or raise it again."""
        code = database.code_of(error)
        if code in database.DAMAGE and self._is_in_place():
            self._start_over(error)
        elif code in database.DISK_FULL and (frees_reserve or self._connection is not None):
            if frees_reserve:
                self._directory.free_reserve()
            # A checkpoint empties the log, which may free enough space.
            with suppress(sqlite3.Error):
                if self._connection is not None:
                    database.checkpoint(self._connection)
        else:
            raise error

    def _start_over(self, error: sqlite3.Error) -> None:
        """Quarantine the damaged database and continue with a new one; an operator recovers the events."""
        self._disconnect()
        moved_to = self._directory.quarantine(self._path)
        self._count_damaged(1)
        self._count_quarantined()
        self._log.error(
            "spool.quarantined",
            reason=str(error),
            moved_to=Shown(moved_to),
            hint=recovery_hint(moved_to),
        )

    def _quarantine(self, connection: sqlite3.Connection, numbers: Sequence[int]) -> None:
        """Mark damaged events, so that they are not read again."""
        with database.transaction(connection):
            for number in numbers:
                connection.execute("UPDATE events SET damaged = 1 WHERE number = ?", (number,))
        self._count_damaged(len(numbers))
        self._contents = self._measured(connection)
        self._log.error("spool.damaged", numbers=list(numbers), file=str(self._path))

    def _kept(self, connection: sqlite3.Connection, ids: Collection[str]) -> set[str]:
        """Return which of the ids are in the spool."""
        rows = [connection.execute(f"{SELECT} AND id = ?", (id_,)).fetchone() for id_ in ids]
        found = self._whole(connection, [row for row in rows if row is not None])
        return {one.event.id for one in found}

    def _whole(self, connection: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> list[Spooled]:
        """Return the events with a valid checksum; mark the others as damaged."""
        found = [(row[0], spooled(row)) for row in rows]
        damaged = [number for number, event in found if event is None]
        if damaged:
            self._quarantine(connection, damaged)
        return [event for _, event in found if event is not None]

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._directory.hold()
            connection, truncated = database.open_database(self._path)
            try:
                self._contents = self._measured(connection)
            except BaseException:
                connection.close()
                raise
            self._connection, self._files = connection, ()
            if truncated and not self._opened:
                self._report_truncated(truncated)
            self._opened = self._opened or truncated is not None
        self._files = self._files or database.files_at(self._path)
        return self._connection

    def _report_truncated(self, frames: int) -> None:
        self._count_damaged(1)
        self._log.error(
            "spool.truncated",
            frames=frames,
            file=str(self._path),
            hint="the end of SQLite's log can't be read; a commit that a crash interrupted was never answered 2xx",
        )

    def _is_in_place(self) -> bool:
        """Return whether the open files are still at the path, where a restart finds them."""
        return self._connection is None or self._files in {(), database.files_at(self._path)}

    def _follow(self) -> None:
        """Move to the files at the path, with the buffered events, if the open ones are no longer there.

        Files may be removed, or a volume mounted over them. SQLite then continues with the open files, which a restart
        does not find.

        Raises:
            SpoolUnavailable: the files at the path can't be used; the open ones stay in use until they can.

        """
        self._directory.hold()
        if self._connection is None or self._is_in_place():
            return
        if database.files_at(self._path)[0] == self._files[0]:
            # Only a log is missing; the database is still at the path.
            self._attempt(database.empty_log)
            self._disconnect()
        else:
            self._move(self._connection)

    def _move(self, old: sqlite3.Connection) -> None:
        """Copy the events of `old` into the database at the path, which is created if it is missing."""

        def work(connection: sqlite3.Connection) -> int:
            taken = take_over(old, connection)
            self._contents = self._measured(connection)
            return taken

        files, had = self._files, self._contents
        self._connection = None
        try:
            taken = self._attempt(work)
        except SpoolUnavailable:
            self._connection, self._files, self._contents = old, files, had
            raise
        old.close()
        self._directory.reserve()
        self._contents = replace(self._contents, moved=self._contents.moved + 1)
        self._count_damaged(had.events - taken)
        self._log.error(
            "spool.moved",
            saved=taken,
            lost=had.events - taken,
            hint="its files were removed or mounted over; its events are in the files at the path now",
        )

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _measured(self, connection: sqlite3.Connection) -> SpoolContents:
        events, bytes_ = connection.execute(_TOTALS).fetchone()
        oldest = connection.execute(_OLDEST).fetchone()
        return replace(self._contents, events=events, bytes=bytes_, oldest_at=oldest and oldest[0])

    def _count_damaged(self, number: int) -> None:
        self._contents = replace(self._contents, damaged=self._contents.damaged + number)

    def _count_quarantined(self) -> list[Path]:
        found = quarantined_in(self._directory.path)
        self._contents = replace(self._contents, quarantined=len(found))
        return found

    def _tidy(self) -> None:
        """Free unused disk space if the spool is empty."""
        with suppress(sqlite3.Error):
            if self._connection is not None:
                self._connection.execute("PRAGMA incremental_vacuum").fetchall()
                database.checkpoint(self._connection)
        self._directory.reserve()

    @staticmethod
    def _probe(connection: sqlite3.Connection) -> None:
        with database.transaction(connection):
            connection.execute("UPDATE probes SET times = times + 1")
