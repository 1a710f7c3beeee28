"""The store of seen notifications, independent of the commands' locks.

A lookup must not wait for the workers. So SQLite reads without the write lock, and PostgreSQL takes no advisory lock.
Recording an id twice, also by two ingests at the same time, has the effect of recording it once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError

from bridge.adapters.store import retention
from bridge.adapters.store.ledger import unavailable
from bridge.adapters.store.statements import STATEMENTS
from bridge.adapters.store.tables import submissions, watermarks
from bridge.adapters.store.transactions import TransactionalStore
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


class SqlSeen(TransactionalStore):
    """Fills the ports `Seen` and `Watermarks`. For one thread at a time; `prune` may run on another thread."""

    def __init__(self, engine: Engine) -> None:
        """Use `engine`, which begins transactions without a lock; the tables exist."""
        super().__init__(engine)
        self._sql = STATEMENTS[engine.dialect.name]
        self._autocommit = AutocommitConnection(engine)

    def close(self) -> None:
        """Close the connections."""
        self._autocommit.close()
        super().close()

    def known(self, ids: Collection[str]) -> set[str]:
        """Return the ids that are recorded; see `bridge.ports.Seen`.

        Without ids the query still runs: it shows whether the ledger is available.
        """
        return {
            id_ for (id_,) in self._autocommit.read(self._sql.notifications, self._sql.as_list(list(ids)))
        }

    def note(self, ids: Collection[str], now: float) -> None:
        """Record ids durably; see `bridge.ports.Seen`."""
        if ids:
            # Sorted: two ingests that record the same ids must not deadlock.
            self._autocommit.write(self._sql.note, now, self._sql.as_list(sorted(ids)))

    def sent(self, message_id: str) -> SentSubmission | None:
        """Return the submission with this message id; see `bridge.ports.Seen`."""
        return self._transaction(lambda connection: _sent(connection, message_id))

    def watermarks(self) -> dict[str, float]:
        """Return all watermarks; see `bridge.ports.Watermarks`."""
        return self._transaction(
            lambda connection: {row.number: row.read_until for row in connection.execute(select(watermarks))}
        )

    def advance(self, watermarks: Mapping[str, float]) -> None:
        """Record watermarks; see `bridge.ports.Watermarks`."""
        rows = [{"number": number, "read_until": at} for number, at in sorted(watermarks.items())]
        if rows:
            self._transaction(lambda connection: connection.execute(_ADVANCE, rows))

    def prune(self, before: float) -> int:
        """Delete a batch of notifications recorded before `before`; return their number, 0 when none is left.

        Raises:
            LedgerUnavailable: nothing was deleted.

        """
        return self._transaction(lambda connection: retention.delete_notifications(connection, before))


def sent(row: Row[Any]) -> SentSubmission:
    """Return a sent submission from its row."""
    return SentSubmission(
        command_id=row.command_id,
        index=row.position,
        replay=row.replay,
        message_id=row.message_id,
        event=bytes(row.event),
    )


class AutocommitConnection:
    """A connection for single statements, each in a separate transaction. Used by one thread at a time.

    SQLAlchemy's statement and transaction layers take longer than the database: the processor's caches are cold when it
    has little to do. So SQLAlchemy opens the connection, and the driver's cursor executes the statements.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._dialect = engine.dialect
        self._driver_error: type[Exception] = engine.dialect.loaded_dbapi.Error
        self._connection: PoolProxiedConnection | None = None
        self._cursor: DBAPICursor | None = None
        #: Wraps a statement in a transaction with the settings, if the session can't have them.
        self._in_transaction: Callable[[], AbstractContextManager[None]] | None = None

    def close(self) -> None:
        """Close the connection; the next statement opens another one."""
        connection, self._connection, self._cursor = self._connection, None, None
        if connection is not None:
            connection.invalidate()

    def read(self, statement: str, *parameters: object) -> Sequence[Sequence[Any]]:
        """Return the rows of a query.

        Raises:
            LedgerUnavailable: the database does not answer.

        """
        return self._run(statement, parameters).fetchall()

    def write(self, statement: str, *parameters: object) -> None:
        """Execute an idempotent statement.

        Raises:
            LedgerUnavailable: nothing was changed, or the result is unknown.

        """
        self._run(statement, parameters)

    def _run(self, statement: str, parameters: Sequence[object]) -> DBAPICursor:
        """Execute a statement; again if the connection was lost while idle."""
        was_open = self._cursor is not None
        try:
            return self._run_once(statement, parameters)
        except (self._driver_error, SQLAlchemyError, OSError) as e:
            if not self._was_lost(e):
                raise unavailable(e) from e
            self.close()
            if not was_open or isinstance(e, TimeoutError):
                raise unavailable(e) from e
        return self._run(statement, parameters)

    def _run_once(self, statement: str, parameters: Sequence[object]) -> DBAPICursor:
        if self._cursor is None:
            self._cursor = self._open()
        if self._in_transaction is None:
            self._cursor.execute(statement, parameters)
        else:
            with self._in_transaction():
                self._cursor.execute(statement, parameters)
        return self._cursor

    def _open(self) -> DBAPICursor:
        connection = self._engine.raw_connection()
        # SQLite's driver begins no transaction: see `bridge.adapters.store.sqlite`.
        if self._dialect.name == "postgresql":
            driver: Any = connection.driver_connection
            driver.autocommit = True
            self._in_transaction = driver.in_transaction if driver.transaction_settings else None
        self._connection = connection
        return connection.cursor()

    def _was_lost(self, error: Exception) -> bool:
        """Return whether the connection was lost."""
        return self._connection is not None and (
            isinstance(error, OSError)
            or self._dialect.is_disconnect(error, self._connection.driver_connection, None)  # type: ignore[arg-type]
        )


def _sent(connection: Connection, message_id: str) -> SentSubmission | None:
    mine = (submissions.c.message_id == message_id) & (submissions.c.state == Outcome.SENT.value)
    row = connection.execute(select(submissions).where(mine)).first()
    return None if row is None else sent(row)
