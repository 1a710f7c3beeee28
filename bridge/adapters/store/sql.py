"""The ledger on a SQL database: read what the changes need, let the core change it, write it back, commit once."""

from __future__ import annotations

import secrets
import string
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from bridge.adapters.store import pruning, schema
from bridge.adapters.store.changing import carry_out
from bridge.adapters.store.loading import Saver, fill
from bridge.adapters.store.tables import meta
from bridge.ports import ChangeRefused, LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    from sqlalchemy import Connection, Engine, Table

    from bridge.adapters.store.loading import Insert
    from bridge.core.ledger import Change, Needs

    #: Keeps others from what a batch needs until the transaction ends; None is the whole ledger.
    Lock: TypeAlias = Callable[[Connection, "Sequence[Needs] | None"], None]

#: Upserts are each dialect's own, but the same call.
INSERTS: dict[str, Callable[[Table], Insert]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class SqlLedger:
    """Fills the port `Ledger`. Used by one thread at a time, `recall` and `prune` aside: they may have their own."""

    def __init__(
        self, engine: Engine, lock: Lock | None = None, stands: Callable[[], None] = lambda: None
    ) -> None:
        """`lock` is for databases that let others write meanwhile.

        `stands` raises LedgerUnusable where what was opened is the ledger no longer.
        """
        self._engine = engine
        self._lock = lock
        self._stands = stands
        self._insert = INSERTS[engine.dialect.name]
        self._saver = Saver(engine.dialect, self._insert)
        #: The revision its tables had when it was opened; None where there were none.
        self.revision_before: str | None = None
        #: Names this ledger; another file or database has another name.
        self.identity = ""
        #: When it was put in the place of another one, in seconds since the epoch.
        self.adopted_at: float | None = None

    def open(self) -> None:
        """Bring the tables to our revision; of processes that do so at once, one does.

        Raises:
            LedgerUnavailable: the database can't be reached or is of another bridge.

        """
        with self._transaction(None) as connection:
            self.revision_before = schema.bring_up(connection)
            self._learn(connection)

    def recall(self) -> None:
        """Read again what another process may have noted: whether the ledger was adopted.

        Raises:
            LedgerUnavailable: it can't be read.

        """
        with self._transaction() as connection:
            self._learn(connection)

    def apply(self, changes: Sequence[Change]) -> list[object]:
        """Carry the changes out in one durable transaction; see `bridge.ports.Ledger`."""
        needs = [change.needs for change in changes]
        try:
            with self._transaction(needs) as connection:
                slate = fill(connection, needs)
                before, limits = dict(slate.commands), dict(slate.buckets)
                results = carry_out(changes, slate)
                self._saver.save(connection, slate, before, limits)
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

    def adopt(self, now: float) -> None:
        """Note that this ledger takes another one's place: for a while, redeliveries it does not know are in doubt.

        Raises:
            LedgerUnavailable: nothing was noted.

        """
        noted = self._insert(meta).values(key="adopted_at", value=str(now))
        with self._transaction() as connection:
            connection.execute(noted.on_conflict_do_update(index_elements=["key"], set_={"value": str(now)}))
        self.adopted_at = now

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
    def _transaction(self, needs: Sequence[Needs] | None = ()) -> Iterator[Connection]:
        """Commit what the block does, with all that `needs` name locked from the start."""
        try:
            with self._begun(needs) as connection:
                yield connection
                self._stands()
                connection.commit()
        except (SQLAlchemyError, OSError) as e:
            raise unavailable(e) from e

    def _begun(self, needs: Sequence[Needs] | None) -> Connection:
        """Return a connection with the locks held; a second one where the first was lost while it idled."""
        try:
            return self._locked(needs)
        except DBAPIError as e:
            if not e.connection_invalidated or isinstance(e.orig, TimeoutError):
                raise
        return self._locked(needs)

    def _locked(self, needs: Sequence[Needs] | None) -> Connection:
        connection = self._engine.connect()
        try:
            connection.begin()
            if self._lock is not None:
                self._lock(connection, needs)
        except BaseException:
            connection.close()
            raise
        return connection

    def _learn(self, connection: Connection) -> None:
        """Take the facts about the ledger, noting those that are missing."""
        self.identity = self._fact(connection, "identity", _new_name())
        try:
            self.adopted_at = float(self._fact(connection, "adopted_at", "0")) or None
        except ValueError as e:
            raise LedgerUnavailable("the ledger's adopted_at is no time") from e

    def _fact(self, connection: Connection, key: str, default: str) -> str:
        fresh = self._insert(meta).values(key=key, value=default)
        connection.execute(fresh.on_conflict_do_nothing())
        return str(connection.execute(select(meta.c.value).where(meta.c.key == key)).scalar_one())


def _new_name() -> str:
    """Return a name that no other ledger has; letters alone, which no log takes for a phone number."""
    return "".join(secrets.choice(string.ascii_lowercase) for _ in range(20))


def unavailable(error: Exception) -> LedgerUnavailable:
    """Name the cause without the statement: its parameters hold numbers and texts."""
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, SQLAlchemyError):
        return LedgerUnavailable(type(cause).__name__)
    # The first line: the further ones of PostgreSQL's errors quote rows.
    first, _, _ = str(cause).partition("\n")
    return LedgerUnavailable(f"{type(cause).__name__}: {first}")
