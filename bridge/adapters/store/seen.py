"""Which notifications are events already: beside the commands, and under none of their locks.

A lookup must not wait for those who send. So on SQLite it reads without the write lock, and on PostgreSQL it takes no
advisory lock; whoever notes an id twice, or beside another ingest, notes it once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from bridge.adapters.store import pruning, records
from bridge.adapters.store.among import as_list, rows_among, select_among
from bridge.adapters.store.at_once import AtOnce
from bridge.adapters.store.sql import INSERTS
from bridge.adapters.store.tables import notifications, submissions, watermarks
from bridge.adapters.store.transacting import Transacting
from bridge.domain.outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import Connection, Engine

    from bridge.domain.receipts import Sent

_NOTE = {
    "sqlite": (
        "INSERT INTO notifications (event_id, seen_at) SELECT value, ? FROM json_each(?) WHERE true "
        "ON CONFLICT DO NOTHING"
    ),
    "postgresql": (
        "INSERT INTO notifications (event_id, seen_at) SELECT id, %s FROM unnest(%s::text[]) AS id "
        "ON CONFLICT DO NOTHING"
    ),
}


class SqlSeen(Transacting):
    """Fills the ports `Seen` and `Watermarks`. Used by one thread at a time, `prune` aside: it may have its own."""

    def __init__(self, engine: Engine) -> None:
        """`engine` begins transactions without a lock; the tables are there."""
        super().__init__(engine)
        self._dialect = engine.dialect.name
        self._at_once = AtOnce(engine)
        insert = INSERTS[self._dialect]
        marking = insert(watermarks)
        newer = marking.excluded.read_until
        self._mark = marking.on_conflict_do_update(
            index_elements=["number"], set_={"read_until": newer}, where=watermarks.c.read_until < newer
        )

    def close(self) -> None:
        """Close the connections."""
        self._at_once.close()
        super().close()

    def known(self, ids: Collection[str]) -> set[str]:
        """Return those that were noted; see `bridge.ports.Seen`.

        Without any ids it asks all the same: that shows whether the ledger is there.
        """
        look = select_among(self._dialect, notifications, ("event_id",), ("event_id",))
        return {id_ for (id_,) in self._at_once.read(look, as_list(self._dialect, ids))}

    def note(self, ids: Collection[str], now: float) -> None:
        """Note them durably; see `bridge.ports.Seen`."""
        if ids:
            # In one order everywhere: two ingests that note the same ids must not wait for each other.
            self._at_once.write(_NOTE[self._dialect], now, as_list(self._dialect, sorted(ids)))

    def sent(self, message_id: str) -> Sent | None:
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
            self._transaction(lambda connection: connection.execute(self._mark, rows))

    def prune(self, before: float) -> int:
        """Forget some of what was noted before `before`; returns how many, 0 once all are.

        Raises:
            LedgerUnavailable: nothing was forgotten.

        """
        return self._transaction(lambda connection: pruning.forget_notifications(connection, before))


def known_among(connection: Connection, ids: Collection[str]) -> set[str]:
    """Return those of the event ids that were noted."""
    return {id_ for (id_,) in rows_among(connection, notifications, ("event_id",), event_id=ids)}


def _sent(connection: Connection, message_id: str) -> Sent | None:
    mine = (submissions.c.message_id == message_id) & (submissions.c.state == Outcome.SENT.value)
    row = connection.execute(select(submissions).where(mine)).mappings().first()
    return None if row is None else records.sent(row)
