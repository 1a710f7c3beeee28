"""The transfer of events from a spool database whose files were removed or mounted over."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bridge.adapters.spool.database import transaction
from bridge.adapters.spool.rows import INSERT, SELECT, spooled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def take_over(old: sqlite3.Connection, connection: sqlite3.Connection) -> int:
    """Copy the readable events of another connection; return their number."""
    taken = 0
    with transaction(connection):
        for row in _readable(old):
            if spooled(row) is not None:
                connection.execute(INSERT, row[1:])
                taken += 1
    return taken


def _readable(old: sqlite3.Connection) -> Iterator[Sequence[Any]]:
    """Yield its rows, the oldest first; reading ends where its disk is gone."""
    with suppress(sqlite3.Error):
        yield from old.execute(f"{SELECT} ORDER BY number")
