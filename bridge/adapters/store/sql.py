"""The ledger on a SQL database: read what the changes need, let the core change it, write it back, commit once."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from bridge.adapters.store.loading import Saver, fill
from bridge.adapters.store.tables import SCHEMA_VERSION, commands, meta, metadata, sightings, submissions
from bridge.core.ledger.records import OPEN
from bridge.ports import LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection, Engine, Table

    from bridge.adapters.store.loading import Insert
    from bridge.core.ledger import Change, Needs

#: Upserts are each dialect's own, but the same call.
_INSERTS: dict[str, Callable[[Table], Insert]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class SqlLedger:
    """Fills the port `Ledger`. Used by one thread at a time."""

    def __init__(
        self, engine: Engine, lock: Callable[[Connection, Sequence[Needs]], None] | None = None
    ) -> None:
        """`lock` keeps others from what a batch needs, where the database lets others write meanwhile."""
        self._engine = engine
        self._lock = lock
        self._insert = _INSERTS[engine.dialect.name]
        self._saver = Saver(self._insert)
        #: Names this ledger; another file or database has another name.
        self.identity = ""
        #: When it was put in the place of another one, in seconds since the epoch.
        self.adopted_at: float | None = None

    def open(self) -> None:
        """Create what is missing and check that the schema is ours.

        Raises:
            LedgerUnavailable: the database can't be reached or is of another version.

        """
        try:
            with self._engine.begin() as connection:
                metadata.create_all(connection)
                version = self._fact(connection, "schema_version", str(SCHEMA_VERSION))
                self.identity = self._fact(connection, "identity", str(uuid.uuid4()))
                self.adopted_at = float(self._fact(connection, "adopted_at", "0")) or None
        except (SQLAlchemyError, OSError, ValueError) as e:
            raise _unavailable(e) from e
        if version != str(SCHEMA_VERSION):
            raise LedgerUnavailable(
                f"the ledger has schema version {version}, this bridge needs {SCHEMA_VERSION}: "
                "run the bridge that wrote it, or name another ledger.url"
            )

    def apply(self, changes: Sequence[Change]) -> list[object]:
        """Carry the changes out in one durable transaction; see `bridge.ports.Ledger`."""
        needs = [change.needs for change in changes]
        try:
            with self._engine.begin() as connection:
                if self._lock is not None:
                    self._lock(connection, needs)
                slate = fill(connection, needs)
                before, slots = dict(slate.commands), dict(slate.buckets)
                results = [change.apply(slate) for change in changes]
                self._saver.save(connection, slate, before, slots)
        except (SQLAlchemyError, OSError) as e:
            raise _unavailable(e) from e
        return results

    def adopt(self, now: float) -> None:
        """Note that this ledger takes another one's place: for a while, redeliveries it does not know are in doubt.

        Raises:
            LedgerUnavailable: nothing was noted.

        """
        noted = self._insert(meta).values(key="adopted_at", value=str(now))
        try:
            with self._engine.begin() as connection:
                connection.execute(
                    noted.on_conflict_do_update(index_elements=["key"], set_={"value": str(now)})
                )
        except (SQLAlchemyError, OSError) as e:
            raise _unavailable(e) from e
        self.adopted_at = now

    def prune(self, before: float) -> int:
        """Forget commands without anything open that were last touched before `before`; returns how many.

        Raises:
            LedgerUnavailable: nothing was forgotten.

        """
        open_ = select(submissions.c.command_id).where(submissions.c.state.in_(OPEN))
        old = select(commands.c.id).where(commands.c.updated_at < before, commands.c.id.not_in(open_))
        try:
            with self._engine.begin() as connection:
                connection.execute(delete(submissions).where(submissions.c.command_id.in_(old)))
                gone = connection.execute(
                    delete(commands).where(commands.c.updated_at < before, commands.c.id.not_in(open_))
                )
                connection.execute(delete(sightings).where(sightings.c.sent_at < before))
        except (SQLAlchemyError, OSError) as e:
            raise _unavailable(e) from e
        return gone.rowcount

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _fact(self, connection: Connection, key: str, default: str) -> str:
        """Return a fact about the ledger, noting `default` where there is none yet."""
        fresh = self._insert(meta).values(key=key, value=default)
        connection.execute(fresh.on_conflict_do_nothing())
        return str(connection.execute(select(meta.c.value).where(meta.c.key == key)).scalar_one())


def _unavailable(error: Exception) -> LedgerUnavailable:
    """Name the cause without the statement: its parameters hold numbers and texts."""
    cause = getattr(error, "orig", None) or error
    if cause is error:
        return LedgerUnavailable(type(error).__name__)
    # The first line: the further ones of PostgreSQL's errors quote rows.
    first, _, _ = str(cause).partition("\n")
    return LedgerUnavailable(f"{type(cause).__name__}: {first}")
