"""The ledger on a SQL database: read what the changes need, apply them, write the result back, commit once."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from bridge.adapters.store import pruning, schema, unit_of_work
from bridge.adapters.store.lineages import Lineages
from bridge.adapters.store.statements import STATEMENTS
from bridge.ports import ChangeRefused, LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    from sqlalchemy import Connection, Engine

    from bridge.domain.ledger import Change, Needs
    from bridge.domain.lineage import Lineage

    #: Keeps others from what a batch needs until the transaction ends; None is the whole ledger.
    Lock: TypeAlias = Callable[[Connection, "Sequence[Needs] | None"], None]


class SqlLedger:
    """Fills the port `Ledger`. Used by one thread at a time, `recall` and `prune` aside: they may have their own."""

    def __init__(
        self,
        engine: Engine,
        lock: Lock | None = None,
        stands: Callable[[], None] = lambda: None,
        lineage_of: Callable[[Connection], Lineage | None] = lambda _: None,
    ) -> None:
        """`lock` is for databases that let others write meanwhile.

        `stands` raises LedgerUnusable where what was opened is the ledger no longer. `lineage_of` returns the lineage
        of the server that a session leads to, where databases have one.
        """
        self._engine = engine
        self._lock = lock
        self._stands = stands
        self._sql = STATEMENTS[engine.dialect.name]
        #: The revision its tables had when it was opened; None where there were none.
        self.revision_before: str | None = None
        #: Which copy of the database it is in. May be used by another thread than the rest.
        self.lineages = Lineages(lineage_of, partial(self._transaction, is_checked=False))

    @property
    def identity(self) -> str:
        """The name of this ledger; another file or database has another name."""
        return self.lineages.identity

    def open(self) -> None:
        """Bring the tables to our revision; of processes that do so at once, one does.

        Raises:
            LedgerUnavailable: the database can't be reached or is of another bridge.

        """
        with self._transaction(None) as connection:
            self.revision_before = schema.bring_up(connection)
            self.lineages.begin(connection)

    def apply(self, changes: Sequence[Change]) -> list[object]:
        """Carry the changes out in one durable transaction; see `bridge.ports.Ledger`."""
        needs = [change.needs for change in changes]
        try:
            with self._transaction(needs) as connection:
                unit = unit_of_work.read(connection, self._sql, needs)
                unit.restored = self.lineages.restored
                commands, buckets = dict(unit.commands), dict(unit.buckets)
                results = unit_of_work.apply(changes, unit)
                unit_of_work.write(connection, self._sql, unit, commands, buckets)
        except LedgerUnavailable as e:
            if isinstance(e.__cause__, DataError | IntegrityError):
                # The database is well: it is what is to be written that it does not take.
                raise ChangeRefused(str(e)) from e
            raise
        except (ArithmeticError, TypeError, ValueError) as e:
            # The driver's, of what it can't write. Its words may hold a number.
            raise ChangeRefused(type(e).__name__) from e
        return results

    def time(self) -> float | None:
        """Return the database server's time; None for SQLite, which has the machine's. See `bridge.ports.Ledger`."""
        if self._engine.dialect.name == "sqlite":
            self._stands()
            return None
        with self._transaction() as connection:
            seconds = func.extract("epoch", func.clock_timestamp())
            return float(connection.execute(select(seconds)).scalar_one())

    def prune(self, before: float) -> int:
        """Forget some of the commands that `pruning.is_over` since `before`; returns how many, 0 once all are.

        Raises:
            LedgerUnavailable: nothing was forgotten.

        """
        with self._transaction() as connection:
            ids = pruning.candidates(connection, before)
        with self._transaction([pruning.needs_of(id_) for id_ in ids]) as connection:
            return pruning.forget(connection, ids, before)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @contextmanager
    def _transaction(
        self, needs: Sequence[Needs] | None = (), *, is_checked: bool = True
    ) -> Iterator[Connection]:
        """Commit what the block does, with all that `needs` name locked from the start."""
        try:
            with self._begun(needs, is_checked=is_checked) as connection:
                yield connection
                self._stands()
                connection.commit()
        except (SQLAlchemyError, OSError) as e:
            raise unavailable(e) from e

    def _begun(self, needs: Sequence[Needs] | None, *, is_checked: bool) -> Connection:
        """Return a connection with the locks held; a second one where the first was lost while it idled."""
        try:
            return self._locked(needs, is_checked=is_checked)
        except DBAPIError as e:
            if not e.connection_invalidated or isinstance(e.orig, TimeoutError):
                raise
        return self._locked(needs, is_checked=is_checked)

    def _locked(self, needs: Sequence[Needs] | None, *, is_checked: bool) -> Connection:
        connection = self._engine.connect()
        try:
            connection.begin()
            if self._sql.begin is not None:
                connection.exec_driver_sql(self._sql.begin)
            if is_checked and self.lineages.confirmed is not None:
                # Before anything is locked: whoever compares the lineage needs all of the ledger.
                self.lineages.check(connection, self.lineages.confirmed)
            if self._lock is not None:
                self._lock(connection, needs)
        except BaseException:
            connection.close()
            raise
        return connection


def unavailable(error: Exception) -> LedgerUnavailable:
    """Name the cause without the statement: its parameters hold numbers and texts."""
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, SQLAlchemyError):
        return LedgerUnavailable(type(cause).__name__)
    # The first line: the further ones of PostgreSQL's errors quote rows.
    first, _, _ = str(cause).partition("\n")
    return LedgerUnavailable(f"{type(cause).__name__}: {first}")
