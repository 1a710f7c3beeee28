"""The SQL ledger: each batch of changes is one unit of work in one durable transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from bridge.adapters.store import retention, schema, unit_of_work
from bridge.adapters.store.lineages import Lineages
from bridge.ports import ChangeRefused, LedgerUnavailable, LedgerUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection, Engine

    from bridge.adapters.store.statements import Statements
    from bridge.domain.ledger import Change, ReadSet
    from bridge.domain.lineage import Lineage


class Database(Protocol):
    """The differences between the databases. All methods raise LedgerUnavailable."""

    engine: Engine

    @property
    def statements(self) -> Statements:
        """The SQL statements of this database."""
        ...

    def transaction(
        self, read_sets: Sequence[ReadSet] | None = (), check: Callable[[Connection], None] | None = None
    ) -> AbstractContextManager[Connection]:
        """Commit the block durably, with everything in `read_sets` locked; None locks the whole ledger.

        `check` refuses a session with another server than the confirmed one.
        """
        ...

    def time(self, check: Callable[[Connection], None]) -> float | None:
        """Return the server's time; None for a file, which uses the machine's clock."""
        ...

    def lineage_of(self, connection: Connection) -> Lineage | None:
        """Return the lineage of the server behind a session; None if it has none or does not report it."""
        ...


class SqlLedger:
    """Fills the port `Ledger`. For one thread at a time; `recall` and `prune` may run on another thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        #: The revision of the tables when the ledger was opened; None without tables.
        self.revision_before: str | None = None
        #: The lineage of the database. Another thread than the ledger's may use it.
        self.lineages = Lineages(database)

    @property
    def identity(self) -> str:
        """The name of this ledger; another file or database has another name."""
        return self.lineages.identity

    def open(self) -> None:
        """Migrate the tables to this bridge's revision; of several processes, one does it.

        Raises:
            LedgerUnavailable: the database can't be reached, or another version of the bridge wrote it.

        """
        with self._database.transaction(None) as connection:
            self.revision_before = schema.bring_up(connection)
            self.lineages.begin(connection)

    def apply(self, changes: Sequence[Change]) -> list[object]:
        """Apply the changes in one durable transaction; see `bridge.ports.Ledger`."""
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
                # The database works; it refuses these values.
                raise ChangeRefused(str(e)) from e
            raise
        except (ArithmeticError, TypeError, ValueError) as e:
            # The driver can't encode a value. The error's text may contain a phone number.
            raise ChangeRefused(type(e).__name__) from e
        return results

    def time(self) -> float | None:
        """Return the database server's time; None for SQLite, which uses the machine's clock."""
        return self._database.time(self.lineages.check)

    def prune(self, before: float) -> int:
        """Delete a batch of the commands that `retention.is_over` selects; return their number, 0 when none is left.

        Raises:
            LedgerUnavailable: nothing was deleted.

        """
        with self._database.transaction((), self.lineages.check) as connection:
            ids = retention.candidates(connection, before)
        read_sets = [retention.read_set_of(id_) for id_ in ids]
        with self._database.transaction(read_sets, self.lineages.check) as connection:
            return retention.delete_commands(connection, ids, before)

    def close(self) -> None:
        """Close the connections."""
        self._database.engine.dispose()


def unavailable(error: Exception) -> LedgerUnavailable:
    """Return the error without the statement, whose parameters contain phone numbers and texts."""
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, SQLAlchemyError):
        return LedgerUnavailable(type(cause).__name__)
    # The first line only: the further lines of PostgreSQL's errors quote rows.
    first, _, _ = str(cause).partition("\n")
    reason = f"{type(cause).__name__}: {first}"
    if type(cause).__name__ == "UndefinedColumn" or first.startswith("no such column"):
        # A retry can't help, and this process must not hold commands that another version can send.
        return LedgerUnusable(f"{reason}; another version has migrated the ledger: start that one")
    return LedgerUnavailable(reason)
