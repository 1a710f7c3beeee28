"""The ledger in a SQL database: each batch of changes is one unit of work, in one durable transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from bridge.adapters.store import retention, schema, unit_of_work
from bridge.adapters.store.lineages import Lineages
from bridge.ports import ChangeRefused, LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection, Engine

    from bridge.adapters.store.statements import Statements
    from bridge.domain.ledger import Change, ReadSet
    from bridge.domain.lineage import Lineage


class Database(Protocol):
    """What differs between the databases. Its methods raise LedgerUnavailable."""

    engine: Engine

    @property
    def statements(self) -> Statements:
        """Its SQL."""
        ...

    def transaction(
        self, read_sets: Sequence[ReadSet] | None = (), check: Callable[[Connection], None] | None = None
    ) -> AbstractContextManager[Connection]:
        """Commit durably what the block does, with all that `read_sets` name locked; None locks everything.

        `check` refuses a session that leads to another server than the one that was confirmed.
        """
        ...

    def time(self, check: Callable[[Connection], None]) -> float | None:
        """Return the server's time; None for a file, which has the machine's."""
        ...

    def lineage_of(self, connection: Connection) -> Lineage | None:
        """Return the lineage of the server that a session leads to; None where it has none or does not say."""
        ...


class SqlLedger:
    """Fills the port `Ledger`. Used by one thread at a time, `recall` and `prune` aside: they may have their own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        #: The revision its tables had when it was opened; None where there were none.
        self.revision_before: str | None = None
        #: Which copy of the database it is in. May be used by another thread than the rest.
        self.lineages = Lineages(database)

    @property
    def identity(self) -> str:
        """The name of this ledger; another file or database has another name."""
        return self.lineages.identity

    def open(self) -> None:
        """Bring the tables to our revision; of processes that do so at once, one does.

        Raises:
            LedgerUnavailable: the database can't be reached or is of another bridge.

        """
        with self._database.transaction(None) as connection:
            self.revision_before = schema.bring_up(connection)
            self.lineages.begin(connection)

    def apply(self, changes: Sequence[Change]) -> list[object]:
        """Carry the changes out in one durable transaction; see `bridge.ports.Ledger`."""
        sql, read_sets = self._database.statements, [change.read_set for change in changes]
        try:
            with self._database.transaction(read_sets, self.lineages.check) as connection:
                unit = unit_of_work.read(connection, sql, read_sets)
                unit.restored = self.lineages.restored
                commands, buckets = dict(unit.commands), dict(unit.buckets)
                results = unit_of_work.apply(changes, unit)
                unit_of_work.write(connection, sql, unit, commands, buckets)
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
        return self._database.time(self.lineages.check)

    def prune(self, before: float) -> int:
        """Forget some of the commands that `retention.is_over` since `before`; returns how many, 0 once all are.

        Raises:
            LedgerUnavailable: nothing was forgotten.

        """
        with self._database.transaction((), self.lineages.check) as connection:
            ids = retention.candidates(connection, before)
        read_sets = [retention.read_set_of(id_) for id_ in ids]
        with self._database.transaction(read_sets, self.lineages.check) as connection:
            return retention.forget(connection, ids, before)

    def close(self) -> None:
        """Close the connections."""
        self._database.engine.dispose()


def unavailable(error: Exception) -> LedgerUnavailable:
    """Name the cause without the statement: its parameters hold numbers and texts."""
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, SQLAlchemyError):
        return LedgerUnavailable(type(cause).__name__)
    # The first line: the further ones of PostgreSQL's errors quote rows.
    first, _, _ = str(cause).partition("\n")
    return LedgerUnavailable(f"{type(cause).__name__}: {first}")
