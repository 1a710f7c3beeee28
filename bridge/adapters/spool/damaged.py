"""Recovery of events from a damaged spool database; its files are not changed."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bridge.adapters.spool.database import (
    DAMAGE,
    PAGE_BYTES,
    SUFFIXES,
    beside,
    code_of,
    connect,
    create_tables,
)
from bridge.adapters.spool.rows import COLUMNS, spooled

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from bridge.domain.events import Event

#: Numbers below the last one that are tried if the index of ids can't be read.
MOST_TRIED = 1_000_000

_SELECT = f"SELECT {COLUMNS} FROM events WHERE number = ?"  # noqa: S608 - no value in it
_BY_INDEX = "SELECT number FROM events INDEXED BY sqlite_autoindex_events_1 ORDER BY id"


def read_damaged(path: Path) -> Generator[Event | None, None, None]:
    """Yield the events of the database at `path`, the oldest first, and None for each that can't be read.

    Reads a copy in the directory for temporary files, since opening a database changes it.

    Raises:
        OSError: the files can't be read, or there is no space for the copy and for SQLite's own files beside it.

    """
    with TemporaryDirectory(prefix="sms-bridge-spool-") as directory:
        copy = Path(directory) / "copy"
        for suffix in SUFFIXES:
            if beside(path, suffix).exists():
                shutil.copyfile(beside(path, suffix), beside(copy, suffix))
        try:
            yield from _events(copy)
        except _Unreadable:
            yield None
        except sqlite3.Error as e:
            raise OSError(f"{path} can't be read: {e}; is there space for a copy in {directory}?") from e


def _events(path: Path) -> Iterator[Event | None]:
    connection, numbers, are_certain = _opened(path)
    with closing(connection):
        for number in numbers:
            try:
                with _damage():
                    row = connection.execute(_SELECT, (number,)).fetchone()
            except _Unreadable:
                yield None
                continue
            if row is not None or are_certain:
                found = None if row is None else spooled(row)
                yield None if found is None else found.event


def _opened(path: Path) -> tuple[sqlite3.Connection, Iterable[int], bool]:
    """Open a database; return the numbers that its events may have, too, and whether each number has an event."""
    try:
        return _read(path)
    except _Unreadable:
        _replace_first_page(path)
        return _read(path)


def _read(path: Path) -> tuple[sqlite3.Connection, Iterable[int], bool]:
    with _damage():
        connection = connect(path)
    try:
        try:
            with _damage():
                return connection, sorted(number for (number,) in connection.execute(_BY_INDEX)), True
        except _Unreadable:
            last = _last(connection)
            return connection, range(max(1, last - MOST_TRIED + 1), last + 1), False
    except BaseException:
        connection.close()
        raise


def _last(connection: sqlite3.Connection) -> int:
    try:
        with _damage():
            last: int | None = connection.execute("SELECT max(seq) FROM sqlite_sequence").fetchone()[0]
    except _Unreadable:
        with _damage():
            last = connection.execute("SELECT max(number) FROM events").fetchone()[0]
    return last or 0


class _Unreadable(Exception):
    """A part of the database is damaged."""


@contextmanager
def _damage() -> Iterator[None]:
    """Raise _Unreadable for damage alone: a full disk or a lock must not count as lost events."""
    try:
        yield
    except sqlite3.Error as e:
        if code_of(e) in DAMAGE | {sqlite3.SQLITE_ERROR}:
            raise _Unreadable from e
        raise


def _replace_first_page(path: Path) -> None:
    """Use the first page of an empty database: it contains the tables' locations, equal in all spools."""
    empty = path.with_name("empty")
    with closing(connect(empty)) as connection:
        create_tables(connection)
    page = bytearray(empty.read_bytes()[:PAGE_BYTES])
    # The number of pages in the file, all in use (https://sqlite.org/fileformat2.html#the_database_header).
    page[28:32] = (path.stat().st_size // PAGE_BYTES).to_bytes(4, "big")
    page[32:40] = bytes(8)
    with path.open("r+b") as file:
        file.write(page)
