"""Filling a slate from the tables and writing back what the changes left on it.

Every claim and every outcome passes here, and to build, look up and bind a statement takes SQLAlchemy longer than the
database to carry it out. So what each batch needs is compiled once; the values go to the driver as they are.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from bridge.adapters.store.among import rows_among
from bridge.adapters.store.records import (
    bucket,
    bucket_row,
    command_record,
    command_row,
    receipt_row,
    sighting,
    sighting_row,
    submission_record,
    submission_row,
)
from bridge.adapters.store.tables import buckets, commands, receipts, sightings, submissions
from bridge.core.ledger import Place, Slate
from bridge.core.ledger.records import OPEN
from bridge.core.outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from typing import TypeAlias

    from sqlalchemy import Connection, Dialect, Table
    from sqlalchemy.dialects import postgresql, sqlite

    from bridge.core.ledger import Bucket, CommandRecord, Needs, SubmissionRecord
    from bridge.core.reconcile import Evidence

    Insert: TypeAlias = postgresql.Insert | sqlite.Insert


def fill(connection: Connection, needs: Sequence[Needs]) -> Slate:
    """Return a slate with all that is needed."""
    keys = {need.match_key for need in needs if need.match_key is not None}
    seen = _sightings(connection, keys)
    ids = {message_id for need in needs for message_id in need.message_ids}
    ids.update(evidence.message_id for found in seen.values() for evidence in found)
    return Slate(
        commands=_commands(connection, needs),
        twins=_twins(connection, keys),
        owners=_owners(connection, ids),
        sightings=seen,
        buckets=_buckets(connection, {name for need in needs for name in need.buckets}),
    )


def _commands(connection: Connection, needs: Sequence[Needs]) -> dict[str, CommandRecord]:
    ids = {need.command_id for need in needs if need.command_id is not None}
    indexes = {need.index for need in needs if need.index is not None}
    found = rows_among(connection, commands, id=ids) if ids else ()
    records = {row[0]: command_record(row) for row in found}
    if records and indexes:
        for row in rows_among(connection, submissions, command_id=records, position=indexes):
            records[row[0]].submissions[row[1]] = submission_record(row)
    return records


def _owners(connection: Connection, message_ids: Collection[str]) -> dict[str, Place]:
    if not message_ids:
        return {}
    columns = ("message_id", "command_id", "position")
    found = rows_among(connection, submissions, columns, message_id=message_ids)
    return {message_id: Place(command_id=command, index=index) for message_id, command, index in found}


def _buckets(connection: Connection, names: Collection[str]) -> dict[str, Bucket]:
    return {row[0]: bucket(row) for row in rows_among(connection, buckets, name=names)} if names else {}


def _twins(connection: Connection, keys: Iterable[bytes]) -> dict[bytes, dict[Place, SubmissionRecord]]:
    twins: dict[bytes, dict[Place, SubmissionRecord]] = defaultdict(dict)
    if keys:
        nameless = (submissions.c.state == Outcome.SENT.value) & submissions.c.message_id.is_(None)
        alike = submissions.c.match_key.in_(keys) & (submissions.c.state.in_(OPEN) | nameless)
        for row in connection.execute(select(submissions).where(alike)):
            place = Place(command_id=row.command_id, index=row.position)
            twins[bytes(row.match_key)][place] = submission_record(row)
    return twins


def _sightings(connection: Connection, keys: Iterable[bytes]) -> dict[bytes, list[Evidence]]:
    found: dict[bytes, list[Evidence]] = defaultdict(list)
    if keys:
        for row in connection.execute(select(sightings).where(sightings.c.match_key.in_(keys))).mappings():
            found[bytes(row["match_key"])].append(sighting(row))
    return found


class Saver:
    """Writes a slate back."""

    def __init__(self, dialect: Dialect, insert: Callable[[Table], Insert]) -> None:
        self._command, self._submission, self._sighting, self._bucket, self._receipt = (
            _Upsert(dialect, insert, table) for table in (commands, submissions, sightings, buckets, receipts)
        )

    def save(
        self,
        connection: Connection,
        slate: Slate,
        before: dict[str, CommandRecord],
        limits: dict[str, Bucket],
    ) -> None:
        """Write what differs from how it was read: `before` and `limits`."""
        changed = [record for record in slate.commands.values() if before.get(record.id) is not record]
        rows = [
            submission_row(record.id, submission)
            for record in changed
            for submission in record.submissions.values()
            if not _is_same(before.get(record.id), submission)
        ]
        moved = [
            bucket_row(name, bucket) for name, bucket in slate.buckets.items() if limits.get(name) != bucket
        ]
        for upsert, batch in (
            (self._command, [command_row(record) for record in changed]),
            (self._submission, rows),
            (self._sighting, [sighting_row(key, evidence) for key, evidence in slate.seen]),
            (self._bucket, moved),
            (self._receipt, [receipt_row(place, expected) for place, expected in slate.expected.items()]),
        ):
            if batch:
                upsert.carry_out(connection, batch)


def _is_same(before: CommandRecord | None, submission: SubmissionRecord) -> bool:
    return before is not None and before.submissions.get(submission.index) is submission


class _Upsert:
    """Writes rows of a table, whether they are there or not."""

    def __init__(self, dialect: Dialect, insert: Callable[[Table], Insert], table: Table) -> None:
        statement = insert(table)
        keys = list(table.primary_key.columns)
        rest = {
            column.name: statement.excluded[column.name] for column in table.columns if column not in keys
        }
        upsert = statement.on_conflict_do_update(index_elements=keys, set_=rest)
        compiled: Any = upsert.compile(dialect=dialect, column_keys=table.columns.keys())
        self._sql = str(compiled)
        #: The parameters' names in their order, where the driver goes by that.
        self._order: list[str] | None = compiled.positiontup

    def carry_out(self, connection: Connection, rows: list[dict[str, Any]]) -> None:
        order = self._order
        values: Any = rows if order is None else [tuple([row[name] for name in order]) for row in rows]
        connection.exec_driver_sql(self._sql, values)
