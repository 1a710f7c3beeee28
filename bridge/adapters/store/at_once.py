"""Single statements, each a transaction of its own, for whoever waits for them.

SQLAlchemy's way through a statement and its transaction takes longer than the database does: the caches of a processor
that has little to do are cold. So it opens the connection, and from there on the driver's own cursor does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError

from bridge.adapters.store.ledger import unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import Engine
    from sqlalchemy.engine.interfaces import DBAPICursor
    from sqlalchemy.pool import PoolProxiedConnection


class AtOnce:
    """A connection that is kept. Used by one thread at a time."""

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
