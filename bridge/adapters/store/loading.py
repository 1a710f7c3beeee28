"""Filling a slate from the tables and writing back what the changes left on it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from sqlalchemy import select

from bridge.adapters.store.records import (
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
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeAlias

    from sqlalchemy import Connection, Table
    from sqlalchemy.dialects import postgresql, sqlite

    from bridge.core.ledger import CommandRecord, Needs, SubmissionRecord
    from bridge.core.reconcile import Evidence

    Insert: TypeAlias = postgresql.Insert | sqlite.Insert

#: Message ids in one statement; the smallest of the databases' limits is PostgreSQL's, some 65,000.
MOST_PARAMETERS = 1_000


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
    found = connection.execute(select(commands).where(commands.c.id.in_(ids))).mappings()
    records = {row["id"]: command_record(row) for row in found}
    if records and indexes:
        mine = submissions.c.command_id.in_(records) & submissions.c.position.in_(indexes)
        for row in connection.execute(select(submissions).where(mine)).mappings():
            records[row["command_id"]].submissions[row["position"]] = submission_record(row)
    return records


def _twins(connection: Connection, keys: Iterable[bytes]) -> dict[bytes, dict[Place, SubmissionRecord]]:
    twins: dict[bytes, dict[Place, SubmissionRecord]] = defaultdict(dict)
    if keys:
        nameless = (submissions.c.state == Outcome.SENT.value) & submissions.c.message_id.is_(None)
        alike = submissions.c.match_key.in_(keys) & (submissions.c.state.in_(OPEN) | nameless)
        for row in connection.execute(select(submissions).where(alike)).mappings():
            place = Place(command_id=row["command_id"], index=row["position"])
            twins[bytes(row["match_key"])][place] = submission_record(row)
    return twins


def _owners(connection: Connection, message_ids: Iterable[str]) -> dict[str, Place]:
    ids = list(message_ids)
    owning = select(submissions.c.message_id, submissions.c.command_id, submissions.c.position)
    owners: dict[str, Place] = {}
    # A database takes so many parameters and no more, and how many messages a provider shows is not ours to say.
    for start in range(0, len(ids), MOST_PARAMETERS):
        some = ids[start : start + MOST_PARAMETERS]
        found = connection.execute(owning.where(submissions.c.message_id.in_(some)))
        owners |= {message_id: Place(command_id=command, index=index) for message_id, command, index in found}
    return owners


def _sightings(connection: Connection, keys: Iterable[bytes]) -> dict[bytes, list[Evidence]]:
    found: dict[bytes, list[Evidence]] = defaultdict(list)
    if keys:
        for row in connection.execute(select(sightings).where(sightings.c.match_key.in_(keys))).mappings():
            found[bytes(row["match_key"])].append(sighting(row))
    return found


def _buckets(connection: Connection, names: Iterable[str]) -> dict[str, float]:
    if not names:
        return {}
    found = connection.execute(select(buckets.c.name, buckets.c.next_free).where(buckets.c.name.in_(names)))
    return {row.name: row.next_free for row in found}


class Saver:
    """Writes a slate back."""

    def __init__(self, insert: Callable[[Table], Insert]) -> None:
        self._command = _upsert(insert, commands)
        self._submission = _upsert(insert, submissions)
        self._sighting = _upsert(insert, sightings)
        self._bucket = _upsert(insert, buckets)
        self._receipt = _upsert(insert, receipts)

    def save(
        self, connection: Connection, slate: Slate, before: dict[str, CommandRecord], slots: dict[str, float]
    ) -> None:
        """Write what differs from how it was read: `before` and `slots`."""
        changed = [record for record in slate.commands.values() if before.get(record.id) is not record]
        rows = [
            submission_row(record.id, submission)
            for record in changed
            for submission in record.submissions.values()
            if not _is_same(before.get(record.id), submission)
        ]
        moved = [
            {"name": name, "next_free": at} for name, at in slate.buckets.items() if slots.get(name) != at
        ]
        for statement, batch in (
            (self._command, [command_row(record) for record in changed]),
            (self._submission, rows),
            (self._sighting, [sighting_row(key, evidence) for key, evidence in slate.seen]),
            (self._bucket, moved),
            (self._receipt, [receipt_row(place, expected) for place, expected in slate.expected.items()]),
        ):
            if batch:
                connection.execute(statement, batch)


def _is_same(before: CommandRecord | None, submission: SubmissionRecord) -> bool:
    return before is not None and before.submissions.get(submission.index) is submission


def _upsert(insert: Callable[[Table], Insert], table: Table) -> Insert:
    statement = insert(table)
    keys = list(table.primary_key.columns)
    rest = {column.name: statement.excluded[column.name] for column in table.columns if column not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=rest)
