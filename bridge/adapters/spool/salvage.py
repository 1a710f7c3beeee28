"""A database that SQLite can't read any more: set aside, and what can still be read goes into a new one."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, NamedTuple

from bridge.adapters.spool.database import PAGE_BYTES, SUFFIXES, connect, create_tables, transaction
from bridge.adapters.spool.rows import COLUMNS, spooled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from bridge.adapters.spool.directory import Directory

#: Numbers below the last that are tried where nothing says which there are.
MOST_TRIED = 1_000_000


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
    try:
        with closing(connect(path)) as old:
            return _rows(old, connection)
    except sqlite3.Error:
        pass
    mended = path.with_name("mended")
    try:
        _mend(path, mended, like=_beside(_new(path), ""))
        with closing(connect(mended)) as old:
            return _rows(old, connection)
    except sqlite3.Error:
        return 0, 1
    finally:
        _remove(mended)


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


def _rows(old: sqlite3.Connection, new: sqlite3.Connection) -> tuple[int, int]:
    saved, lost = 0, 0
    with transaction(new):
        for number, certain in _numbers(old):
            try:
                row = old.execute(
                    f"SELECT {COLUMNS} FROM events WHERE number = ?",  # noqa: S608 - no value in it
                    (number,),
                ).fetchone()
            except sqlite3.DatabaseError:
                lost += 1
                continue
            if row is not None and spooled(row) is not None:
                new.execute(
                    f"INSERT OR REPLACE INTO events ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - likewise
                    row,
                )
                saved += 1
            elif row is not None or certain:
                lost += 1
    return saved, lost


def _numbers(old: sqlite3.Connection) -> Iterable[tuple[int, bool]]:
    """Return the numbers of events there may be, and whether each certainly was there."""
    try:
        found = old.execute("SELECT number FROM events INDEXED BY sqlite_autoindex_events_1 ORDER BY id")
        return [(number, True) for number in sorted(number for (number,) in found)]
    except sqlite3.DatabaseError:
        return _guessed(old)


def _guessed(old: sqlite3.Connection) -> Iterator[tuple[int, bool]]:
    (last,) = old.execute("SELECT max(seq) FROM sqlite_sequence").fetchone()
    for number in range(max(1, (last or 0) - MOST_TRIED), (last or 0) + 1):
        yield number, False


def _new(path: Path) -> Path:
    return path.with_name("new")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _remove(path: Path) -> None:
    for suffix in SUFFIXES:
        _beside(path, suffix).unlink(missing_ok=True)
