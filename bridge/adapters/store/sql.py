"""The ledger on a SQL database: read the records, let the core change them, write what changed, commit once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from bridge.adapters.store.records import command_record, command_row, submission_record, submission_row
from bridge.adapters.store.tables import SCHEMA_VERSION, commands, meta, metadata, submissions
from bridge.ports import LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from sqlalchemy import Connection, Engine, Table

    from bridge.core.ledger import Change, CommandRecord

    _Insert: TypeAlias = postgresql.Insert | sqlite.Insert

#: Upserts are each dialect's own, but the same call.
_INSERTS: dict[str, Callable[[Table], _Insert]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class SqlLedger:
    """Fills the port `Ledger`. Used by one thread at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._insert = _INSERTS[engine.dialect.name]
        self._upsert_command = self._upsert(commands)
        self._upsert_submission = self._upsert(submissions)

    def open(self) -> None:
        """Create what is missing and check that the schema is ours.

        Raises:
            LedgerUnavailable: the database can't be reached or is of another version.

        """
        try:
            with self._engine.begin() as connection:
                metadata.create_all(connection)
                version = self._schema_version(connection)
        except (SQLAlchemyError, OSError) as e:
            raise _unavailable(e) from e
        if version != str(SCHEMA_VERSION):
            raise LedgerUnavailable(
                f"the ledger has schema version {version}, this bridge needs {SCHEMA_VERSION}: "
                "run the bridge that wrote it, or name another ledger.url"
            )

    def apply(self, changes: Sequence[Change]) -> list[object]:
        """Carry the changes out in one durable transaction; see `bridge.ports.Ledger`."""
        try:
            with self._engine.begin() as connection:
                before = self._load(connection, changes)
                after, results = _carry_out(before, changes)
                self._save(connection, before, after)
        except (SQLAlchemyError, OSError) as e:
            raise _unavailable(e) from e
        return results

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _upsert(self, table: Table) -> _Insert:
        insert = self._insert(table)
        keys = list(table.primary_key.columns)
        rest = {column.name: insert.excluded[column.name] for column in table.columns if column not in keys}
        return insert.on_conflict_do_update(index_elements=keys, set_=rest)

    def _schema_version(self, connection: Connection) -> str:
        fresh = self._insert(meta).values(key="schema_version", value=str(SCHEMA_VERSION))
        connection.execute(fresh.on_conflict_do_nothing())
        found = connection.execute(select(meta.c.value).where(meta.c.key == "schema_version"))
        return str(found.scalar_one())

    def _load(self, connection: Connection, changes: Sequence[Change]) -> dict[str, CommandRecord]:
        ids = {change.command_id for change in changes}
        indexes = {change.index for change in changes if change.index is not None}
        # FOR UPDATE where the database has it; SQLite has one writer, and this transaction is it.
        found = connection.execute(select(commands).where(commands.c.id.in_(ids)).with_for_update())
        records = {row["id"]: command_record(row) for row in found.mappings()}
        if records and indexes:
            mine = submissions.c.command_id.in_(records) & submissions.c.position.in_(indexes)
            for row in connection.execute(select(submissions).where(mine)).mappings():
                records[row["command_id"]].submissions[row["position"]] = submission_record(row)
        return records

    def _save(
        self, connection: Connection, before: dict[str, CommandRecord], after: dict[str, CommandRecord]
    ) -> None:
        changed = [record for record in after.values() if before.get(record.id) is not record]
        if not changed:
            return
        connection.execute(self._upsert_command, [command_row(record) for record in changed])
        rows = [
            submission_row(record.id, submission)
            for record in changed
            for submission in record.submissions.values()
            if not _is_same(before.get(record.id), submission)
        ]
        if rows:
            connection.execute(self._upsert_submission, rows)


def _is_same(before: CommandRecord | None, submission: object) -> bool:
    return before is not None and any(known is submission for known in before.submissions.values())


def _carry_out(
    before: dict[str, CommandRecord], changes: Sequence[Change]
) -> tuple[dict[str, CommandRecord], list[object]]:
    after = dict(before)
    results = []
    for change in changes:
        record, result = change.apply(after.get(change.command_id))
        if record is not None:
            after[change.command_id] = record
        results.append(result)
    return after, results


def _unavailable(error: Exception) -> LedgerUnavailable:
    """Name the cause without the statement: its parameters hold numbers and texts."""
    cause = getattr(error, "orig", None) or error
    return LedgerUnavailable(
        f"{type(cause).__name__}: {cause}" if cause is not error else type(error).__name__
    )
