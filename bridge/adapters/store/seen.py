"""Which notifications are events already: beside the commands, and under none of their locks.

A lookup must not wait for those who send. So on SQLite it reads without the write lock, and on PostgreSQL it takes no
advisory lock; whoever notes an id twice, or beside another ingest, notes it once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError

from bridge.adapters.store import retention
from bridge.adapters.store.ledger import unavailable
from bridge.adapters.store.statements import STATEMENTS
from bridge.adapters.store.tables import submissions, watermarks
from bridge.adapters.store.transactions import Transacting
from bridge.domain.outcomes import Outcome
from bridge.domain.receipts import SentSubmission

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection, Engine, Row
    from sqlalchemy.engine.interfaces import DBAPICursor
    from sqlalchemy.pool import PoolProxiedConnection

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

    def advance(self, watermarks: Mapping[str, float]) -> None:
        """Note watermarks; see `bridge.ports.Watermarks`."""
        rows = [{"number": number, "read_until": at} for number, at in sorted(watermarks.items())]
        if rows:
            self._transaction(lambda connection: connection.execute(_ADVANCE, rows))

    def prune(self, before: float) -> int:
        """Forget some of what was noted before `before`; returns how many, 0 once all are.

        Raises:
            LedgerUnavailable: nothing was forgotten.

        """
        return self._transaction(lambda connection: retention.forget_notifications(connection, before))


def sent(row: Row[Any]) -> SentSubmission:
    """Return a submission that was sent, from its row."""
    return SentSubmission(
        command_id=row.command_id,
        index=row.position,
        replay=row.replay,
        message_id=row.message_id,
        event=bytes(row.event),
    )


class AtOnce:
    """A connection that is kept for single statements, each a transaction of its own. Used by one thread at a time.

    SQLAlchemy's way through a statement and its transaction takes longer than the database does: the caches of a
    processor that has little to do are cold. So it opens the connection, and from there on the driver's cursor does.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._dialect = engine.dialect
        self._mistakes: type[Exception] = engine.dialect.loaded_dbapi.Error
        self._connection: PoolProxiedConnection | None = None
        self._cursor: DBAPICursor | None = None
        #: Gives a statement its settings, where the connection's session can't have them.
        self._settles: Callable[[], AbstractContextManager[None]] | None = None

    def close(self) -> None:
        """Close the connection; the next statement opens another one."""
        connection, self._connection, self._cursor = self._connection, None, None
        if connection is not None:
            connection.invalidate()

    def read(self, statement: str, *parameters: object) -> Sequence[Sequence[Any]]:
        """Return what a query finds.

        Raises:
            LedgerUnavailable: the database does not tell.

        """
        return self._run(statement, parameters).fetchall()

    def write(self, statement: str, *parameters: object) -> None:
        """Carry out a statement that may as well be carried out twice.

        Raises:
            LedgerUnavailable: nothing was changed, or nobody knows.

        """
        self._run(statement, parameters)

    def _run(self, statement: str, parameters: Sequence[object]) -> DBAPICursor:
        """Run it; once more where the connection was lost while it idled."""
        was_open = self._cursor is not None
        try:
            return self._run_once(statement, parameters)
        except (self._mistakes, SQLAlchemyError, OSError) as e:
            if not self._was_lost(e):
                raise unavailable(e) from e
            self.close()
            if not was_open or isinstance(e, TimeoutError):
                raise unavailable(e) from e
        return self._run(statement, parameters)

    def _run_once(self, statement: str, parameters: Sequence[object]) -> DBAPICursor:
        if self._cursor is None:
            self._cursor = self._open()
        if self._settles is None:
            self._cursor.execute(statement, parameters)
        else:
            with self._settles():
                self._cursor.execute(statement, parameters)
        return self._cursor

    def _open(self) -> DBAPICursor:
        connection = self._engine.raw_connection()
        # SQLite's driver begins no transaction by itself: see `bridge.adapters.store.sqlite`.
        if self._dialect.name == "postgresql":
            driver: Any = connection.driver_connection
            driver.autocommit = True
            self._settles = driver.alone if driver.settles else None
        self._connection = connection
        return connection.cursor()

    def _was_lost(self, error: Exception) -> bool:
        """Return whether the connection is of no more use."""
        return self._connection is not None and (
            isinstance(error, OSError)
            or self._dialect.is_disconnect(error, self._connection.driver_connection, None)  # type: ignore[arg-type]
        )


def _sent(connection: Connection, message_id: str) -> SentSubmission | None:
    mine = (submissions.c.message_id == message_id) & (submissions.c.state == Outcome.SENT.value)
    row = connection.execute(select(submissions).where(mine)).first()
    return None if row is None else sent(row)
