"""Transactions outside the commands' locks."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from bridge.adapters.store.ledger import unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

T = TypeVar("T")


class TransactionalStore:
    """A store on an engine that begins transactions without a lock; the tables exist."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _transaction(self, work: Callable[[Connection], T]) -> T:
        """Commit `work`; again if the connection was lost while idle.

        Raises:
            LedgerUnavailable: nothing was committed, or the result is unknown.

        """
        try:
            try:
                return self._commit(work)
            except DBAPIError as e:
                if not e.connection_invalidated or isinstance(e.orig, TimeoutError):
                    raise
            return self._commit(work)
        except (SQLAlchemyError, OSError) as e:
            raise unavailable(e) from e

    def _commit(self, work: Callable[[Connection], T]) -> T:
        with self._engine.begin() as connection:
            return work(connection)
