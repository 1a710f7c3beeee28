"""Filling a slate from the tables and writing back what the changes left on it.

Every claim and every outcome passes here, and to build, look up and bind a statement takes SQLAlchemy longer than the
database to carry it out. So what each batch needs is compiled once; the values go to the driver as they are.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, text

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
from bridge.adapters.store.tables import (
    MAY_HAVE_A_MESSAGE,
    buckets,
    commands,
    receipts,
    sightings,
    submissions,
)
from bridge.domain.evidence import destination_of
from bridge.domain.ledger import Place, Slate

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import TypeAlias

    from sqlalchemy import Column, ColumnElement, Connection, Dialect, Table
    from sqlalchemy.dialects import postgresql, sqlite

    from bridge.domain.evidence import Evidence
    from bridge.domain.ledger import Bucket, CommandRecord, Needs, SubmissionRecord

    Insert: TypeAlias = postgresql.Insert | sqlite.Insert


#: Comes after every text in a match key, which is a digest of 32 bytes.
_LAST = b"\xff" * 33


def fill(connection: Connection, needs: Sequence[Needs]) -> Slate:
    """Return a slate with all that is needed."""
    judged: dict[bytes, float] = {}
    for need in needs:
        if need.judges is not None:
            destination = destination_of(need.judges)
            judged[destination] = min(need.since, judged.get(destination, need.since))
    seen = _sightings(connection, {need.match_key for need in needs if need.match_key is not None}, judged)
    ids = {message_id for need in needs for message_id in need.message_ids}
    ids.update(evidence.message_id for found in seen.values() for evidence in found)
    return Slate(
        commands=_commands(connection, needs),
        nameless={destination: _nameless(connection, destination) for destination in judged},
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


def _nameless(connection: Connection, destination: bytes) -> dict[Place, SubmissionRecord]:
    found = _of_destination(submissions.c.match_key, destination) & text(MAY_HAVE_A_MESSAGE)
    return {
        Place(command_id=row.command_id, index=row.position): submission_record(row)
        for row in connection.execute(select(submissions).where(found))
    }


def _sightings(
    connection: Connection, keys: Collection[bytes], judged: Mapping[bytes, float]
) -> dict[bytes, list[Evidence]]:
    """Return what was seen of messages with these keys, and to these destinations since then, by their keys."""
    key, sent_at = sightings.c.match_key, sightings.c.sent_at
    wanted: list[ColumnElement[bool]] = [
        _of_destination(key, destination) & (sent_at >= since) for destination, since in judged.items()
    ]
    if keys:
        wanted.append(key.in_(keys))
    rows = {}
    for condition in wanted:
        for row in connection.execute(select(sightings).where(condition)).mappings():
            rows[row["message_id"]] = row
    found: dict[bytes, list[Evidence]] = defaultdict(list)
    for row in rows.values():
        found[bytes(row["match_key"])].append(sighting(row))
    return found


def _of_destination(key: Column[bytes], destination: bytes) -> ColumnElement[bool]:
    """Return the condition that a match key begins with `destination`."""
    return key.between(destination, destination + _LAST)


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
