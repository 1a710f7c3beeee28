"""Which notifications are events already: beside the commands, and under none of their locks.

A lookup must not wait for those who send. So on SQLite it reads without the write lock, and on PostgreSQL it takes no
advisory lock; whoever notes an id twice, or beside another ingest, notes it once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select, text

from bridge.adapters.store import pruning
from bridge.adapters.store.at_once import AtOnce
from bridge.adapters.store.statements import STATEMENTS
from bridge.adapters.store.tables import submissions, watermarks
from bridge.adapters.store.transacting import Transacting
from bridge.domain.outcomes import Outcome
from bridge.domain.receipts import SentSubmission

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import Connection, Engine, Row

_ADVANCE = text("""
INSERT INTO watermarks (number, read_until) VALUES (:number, :read_until)
ON CONFLICT (number) DO UPDATE SET read_until = excluded.read_until
WHERE watermarks.read_until < excluded.read_until
""")


class SqlSeen(Transacting):
    """Fills the ports `Seen` and `Watermarks`. Used by one thread at a time, `prune` aside: it may have its own."""

    def __init__(self, engine: Engine) -> None:
        """`engine` begins transactions without a lock; the tables are there."""
        super().__init__(engine)
        self._sql = STATEMENTS[engine.dialect.name]
        self._at_once = AtOnce(engine)

    def close(self) -> None:
        """Close the connections."""
        self._at_once.close()
        super().close()

    def known(self, ids: Collection[str]) -> set[str]:
        """Return those that were noted; see `bridge.ports.Seen`.

        Without any ids it asks all the same: that shows whether the ledger is there.
        """
        return {id_ for (id_,) in self._at_once.read(self._sql.notifications, self._sql.as_list(list(ids)))}

    def note(self, ids: Collection[str], now: float) -> None:
        """Note them durably; see `bridge.ports.Seen`."""
        if ids:
            # In one order everywhere: two ingests that note the same ids must not wait for each other.
            self._at_once.write(self._sql.note, now, self._sql.as_list(sorted(ids)))

    def sent(self, message_id: str) -> SentSubmission | None:
        """Return the submission with this message; see `bridge.ports.Seen`."""
        return self._transaction(lambda connection: _sent(connection, message_id))

    def watermarks(self) -> dict[str, float]:
        """Return all watermarks; see `bridge.ports.Watermarks`."""
        return self._transaction(
            lambda connection: {row.number: row.read_until for row in connection.execute(select(watermarks))}
        )

    def advance(self, marks: Mapping[str, float]) -> None:
        """Note watermarks; see `bridge.ports.Watermarks`."""
        rows = [{"number": number, "read_until": at} for number, at in sorted(marks.items())]
        if rows:
            self._transaction(lambda connection: connection.execute(_ADVANCE, rows))

    def prune(self, before: float) -> int:
        """Forget some of what was noted before `before`; returns how many, 0 once all are.

        Raises:
            LedgerUnavailable: nothing was forgotten.

        """
        return self._transaction(lambda connection: pruning.forget_notifications(connection, before))


def sent(row: Row[Any]) -> SentSubmission:
    """Return a submission that was sent, from its row."""
    return SentSubmission(
        command_id=row.command_id,
        index=row.position,
        replay=row.replay,
        message_id=row.message_id,
        event=bytes(row.event),
    )


def _sent(connection: Connection, message_id: str) -> SentSubmission | None:
    mine = (submissions.c.message_id == message_id) & (submissions.c.state == Outcome.SENT.value)
    row = connection.execute(select(submissions).where(mine)).first()
    return None if row is None else sent(row)
