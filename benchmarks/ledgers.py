"""Full ledgers: filled with copies of a command that was sent, by the ledger's own statements."""

from __future__ import annotations

import secrets
import sqlite3
import uuid
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.adapters.store import open_ledger
from bridge.domain.ledger.records import changed
from bridge.domain.ledger.unit_of_work import ReadSet

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.stand import Stand
    from bridge.domain.ledger import CommandRecord
    from bridge.domain.ledger.unit_of_work import UnitOfWork
    from tests.harness.postgres import Postgres

#: Commands in one commit.
BATCH = 2_000


@dataclass(frozen=True, slots=True)
class Copy:
    """A ledger change that adds copies of the command `name`."""

    name: str
    number: int

    @property
    def read_set(self) -> ReadSet:
        """The command with its submission."""
        return ReadSet(command_id=self.name, index=0)

    def apply(self, unit: UnitOfWork) -> None:
        """Put the copies beside it."""
        record = unit.commands[self.name]
        for _ in range(self.number):
            copy = _copied(record)
            unit.commands[copy.id] = copy


def _copied(record: CommandRecord) -> CommandRecord:
    """Return the record under new ids everywhere: in an index they lie as far apart as true ones."""
    name = uuid.uuid4().hex
    submission = record.submissions[0]
    assert submission.stored_event is not None
    stored_event = replace(
        submission.stored_event,
        event_id=str(uuid.uuid4()),
        body=submission.stored_event.body.replace(record.id.encode(), name.encode()),
    )
    own = changed(
        submission, match_key=secrets.token_bytes(32), message_id=f"SM{name}", stored_event=stored_event
    )
    return changed(record, id=name, submissions={0: own})


def remember(url: str, name: str, number: int, done: Callable[[int], None]) -> None:
    """Add so many copies of the command `name`; `done` gets the number after each step."""
    with closing(open_ledger(url)) as ledger:
        for begin in range(0, number, BATCH):
            batch = min(BATCH, number - begin)
            ledger.apply([Copy(name, batch)])
            done(batch)


def size(stand: Stand, postgres: Postgres) -> int:
    """Return the bytes of a ledger: tables and indexes, without the log of what was written last."""
    if stand.load.postgresql:
        (found,) = postgres.execute("SELECT pg_database_size(current_database())", database=stand.database)
        return int(found[0])
    path = stand.ledger.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Path(path).stat().st_size
