"""A database that SQLite can't read any more: set aside, and what can still be read goes into a new one."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, NamedTuple

from bridge.adapters.spool.database import (
    DAMAGE,
    PAGE_BYTES,
    SUFFIXES,
    code_of,
    connect,
    create_tables,
    transaction,
)
from bridge.adapters.spool.rows import COLUMNS, spooled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bridge.adapters.spool.directory import Directory

#: Numbers below the last that are tried where nothing says which there are.
MOST_TRIED = 1_000_000


_SELECT = f"SELECT {COLUMNS} FROM events WHERE number = ?"  # noqa: S608 - no value in it
_INSERT = f"INSERT OR REPLACE INTO events ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - likewise


class _Number(NamedTuple):
    """An event that may be there; `certain` where the index says that it is."""

    number: int
    certain: bool


class Salvaged(NamedTuple):
    """What became of a damaged database."""

    #: Where it is now.
    aside: Path
    saved: int
    #: How many events could not be read; 1 where nobody can tell.
    lost: int


def salvage(directory: Directory, path: Path) -> Salvaged:
    """Put a new database in the place of the damaged one at `path`, with every event that can be read.

    Until the new one is whole, the old one stays where it is.

    Raises:
        OSError: there is no room, or no right.
        sqlite3.Error: likewise.

    """
    new = _new(path)
    _remove(new)
    with closing(connect(new)) as connection:
        create_tables(connection)
        saved, lost = _copy(path, connection)
    aside = directory.free_name("damaged")
    for suffix in SUFFIXES:
        with suppress(FileNotFoundError):
            _beside(path, suffix).rename(_beside(aside, suffix))
    new.rename(path)
    directory.sync()
    return Salvaged(aside, saved, lost)


def finish(path: Path) -> None:
    """Go on where a crash ended a salvage between its last two steps."""
    if not path.exists() and _new(path).exists():
        _new(path).rename(path)


def _copy(path: Path, connection: sqlite3.Connection) -> tuple[int, int]:
    """Copy what can be read into `connection`; returns how many events could be, and how many not."""
    mended = path.with_name("mended")
    try:
        for mend in (False, True):
            if mend:
                _mend(path, mended, like=_new(path))
            # What goes wrong with the new one is no damage: it ends the salvage, and the old one stays.
            if (source := _source(mended if mend else path)) is not None:
                old, numbers = source
                with closing(old):
                    return _rows(old, numbers, connection)
    finally:
        _remove(mended)
    return 0, 1


def _source(path: Path) -> tuple[sqlite3.Connection, Sequence[_Number]] | None:
    """Open a damaged database, and tell which events may be in it; None where it can't be read at all."""
    old = None
    try:
        old = connect(path)
        return old, _numbers(old)
    except sqlite3.Error as e:
        if old is not None:
            old.close()
        if code_of(e) not in DAMAGE | {sqlite3.SQLITE_ERROR}:
            raise
        return None


def _mend(path: Path, mended: Path, *, like: Path) -> None:
    """Copy a database with the first page of an empty one: it says what the file is, and is alike in all of ours."""
    for suffix in ("-wal", ""):
        with suppress(FileNotFoundError):
            shutil.copy(_beside(path, suffix), _beside(mended, suffix))
    with closing(sqlite3.connect(like)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    page = bytearray(like.read_bytes()[:PAGE_BYTES])
    # The pages in the file, and none of them free (https://sqlite.org/fileformat2.html#the_database_header).
    page[28:32] = (mended.stat().st_size // PAGE_BYTES).to_bytes(4, "big")
    page[32:40] = bytes(8)
    with mended.open("r+b") as file:
        file.write(page)


def _rows(old: sqlite3.Connection, numbers: Sequence[_Number], new: sqlite3.Connection) -> tuple[int, int]:
    saved, lost = 0, 0
    with transaction(new):
        for number, certain in numbers:
            try:
                row = old.execute(_SELECT, (number,)).fetchone()
            except sqlite3.DatabaseError:
                lost += 1
                continue
            if row is not None and spooled(row) is not None:
                new.execute(_INSERT, row)
                saved += 1
            elif row is not None or certain:
                lost += 1
    return saved, lost


def _numbers(old: sqlite3.Connection) -> list[_Number]:
    """Return the numbers of events there may be."""
    try:
        found = old.execute("SELECT number FROM events INDEXED BY sqlite_autoindex_events_1 ORDER BY id")
        return [_Number(number, certain=True) for number in sorted(number for (number,) in found)]
    except sqlite3.DatabaseError:
        last = _last(old)
        return [_Number(number, certain=False) for number in range(max(1, last - MOST_TRIED + 1), last + 1)]


def _last(old: sqlite3.Connection) -> int:
    try:
        last: int | None = old.execute("SELECT max(seq) FROM sqlite_sequence").fetchone()[0]
    except sqlite3.DatabaseError:
        last = old.execute("SELECT max(number) FROM events").fetchone()[0]
    return last or 0


def _new(path: Path) -> Path:
    return path.with_name("new")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _remove(path: Path) -> None:
    for suffix in SUFFIXES:
        _beside(path, suffix).unlink(missing_ok=True)
