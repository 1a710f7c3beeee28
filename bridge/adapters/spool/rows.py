"""The columns of an event in the database, and the checksum over them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from bridge.domain.events import Event
from bridge.ports import SPOOL_OVERHEAD, Spooled

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Events are numbered without reuse. A damaged one stays in the table and is ignored.
SCHEMA = (
    """CREATE TABLE IF NOT EXISTS events (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        type TEXT NOT NULL,
        subject TEXT,
        added_at REAL NOT NULL,
        body BLOB NOT NULL,
        checksum BLOB NOT NULL,
        damaged INTEGER NOT NULL DEFAULT 0
    )""",
    "CREATE TABLE IF NOT EXISTS probes (one INTEGER PRIMARY KEY, times INTEGER NOT NULL)",
    "INSERT OR IGNORE INTO probes VALUES (1, 0)",
)
COLUMNS = "number, id, type, subject, added_at, body, checksum"
SIZE = f"length(body) + {SPOOL_OVERHEAD}"
#: Selects the events that are not damaged.
SELECT = f"SELECT {COLUMNS} FROM events WHERE damaged = 0"  # noqa: S608 - no value in it
INSERT = (
    "INSERT OR REPLACE INTO events (id, type, subject, added_at, body, checksum) VALUES (?, ?, ?, ?, ?, ?)"
)


def values(event: Event, added_at: float) -> tuple[object, ...]:
    """Return the values of an event's columns after its number."""
    checksum = _checksum(event.id, event.type, event.subject, added_at, event.body)
    return event.id, event.type, event.subject, added_at, event.body, checksum


def spooled(row: Sequence[Any]) -> Spooled | None:
    """Return the event of a row; None if it differs from what was written."""
    number, id_, type_, subject, added_at, body, checksum = row
    if not isinstance(body, bytes) or _checksum(id_, type_, subject, added_at, body) != checksum:
        return None
    return Spooled(number, Event(id=id_, type=type_, subject=subject, body=body))


def size(event: Event) -> int:
    """Return the event's size in bytes, as limits count it."""
    return len(event.body) + SPOOL_OVERHEAD


def _checksum(id_: object, type_: object, subject: object, added_at: object, body: bytes) -> bytes:
    head = repr((id_, type_, subject, added_at)).encode("utf-8", "backslashreplace")
    return hashlib.blake2b(body, digest_size=16, key=hashlib.blake2b(head).digest()).digest()
