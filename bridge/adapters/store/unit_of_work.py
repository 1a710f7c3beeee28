"""A unit of work on the tables: read what a batch of changes needs, apply the changes, write what they changed."""

from __future__ import annotations

from collections import defaultdict
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, text

from bridge.adapters.store.statements import SUBMISSION_FIELDS
from bridge.adapters.store.tables import MAY_HAVE_A_MESSAGE, observed_messages, submissions
from bridge.domain.evidence import Evidence
from bridge.domain.ledger import (
    Bucket,
    CommandRecord,
    StoredEvent,
    SubmissionId,
    SubmissionRecord,
    UnitOfWork,
)
from bridge.domain.match_keys import destination_of
from bridge.ports import ChangeRefused

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import Column, ColumnElement, Connection

    from bridge.adapters.store.statements import Statements
    from bridge.domain.ledger import Change, ReadSet

#: Greater than every text's part of a match key, which is a digest of 32 bytes.
_LAST = b"\xff" * 33
#: SQLite stores booleans as integers.
_FLAGS = ("queued", "submitted", "earlier_in_doubt", "may_resend")

_fields_of = attrgetter(*SUBMISSION_FIELDS)


def read(connection: Connection, sql: Statements, read_sets: Sequence[ReadSet]) -> UnitOfWork:
    """Return a unit of work with everything in the read sets."""
    run, as_list = connection.exec_driver_sql, sql.as_list
    unit = UnitOfWork(commands=_read_commands(connection, sql, read_sets))
    names = {name for read_set in read_sets for name in read_set.buckets}
    if names:
        for name, next_free, next_queued, open_at in run(sql.buckets, (as_list(list(names)),)).all():
            unit.buckets[name] = Bucket(next_free=next_free, next_queued=next_queued, open_at=open_at)
    with_evidence = [
        read_set
        for read_set in read_sets
        if read_set.match_key is not None or read_set.judged_key is not None
    ]
    if with_evidence:
        _read_evidence(connection, unit, with_evidence)
    message_ids = {message_id for read_set in read_sets for message_id in read_set.message_ids}
    message_ids.update(seen.message_id for found in unit.observed_messages.values() for seen in found)
    if message_ids:
        for message_id, command_id, index in run(sql.owners, (as_list(list(message_ids)),)).all():
            unit.owners[message_id] = SubmissionId(command_id=command_id, index=index)
    return unit


def _read_commands(
    connection: Connection, sql: Statements, read_sets: Sequence[ReadSet]
) -> dict[str, CommandRecord]:
    """Return the commands in the read sets, each with the submissions in the read sets."""
    run, as_list = connection.exec_driver_sql, sql.as_list
    ids = {read_set.command_id for read_set in read_sets if read_set.command_id is not None}
    indexes = {read_set.index for read_set in read_sets if read_set.index is not None}
    rows = run(sql.commands, (as_list(list(ids)),)).all() if ids else ()
    commands = {row[0]: command_record(row) for row in rows}
    if commands and indexes:
        for row in run(sql.submissions, (as_list(list(commands)), as_list(list(indexes)))).all():
            commands[row[0]].submissions[row[1]] = submission_record(row)
    return commands


def apply(changes: Sequence[Change], unit: UnitOfWork) -> list[object]:
    """Apply the changes in order; return their results.

    Raises:
        ChangeRefused: a change raised an error; the unit of work must be dropped.

    """
    results = []
    for change in changes:
        try:
            results.append(change.apply(unit))
        except Exception as e:
            raise ChangeRefused(f"{type(change).__name__} raised {type(e).__name__}") from e
    return results


def write(
    connection: Connection,
    sql: Statements,
    unit: UnitOfWork,
    read_commands: Mapping[str, CommandRecord],
    read_buckets: Mapping[str, Bucket],
) -> None:
    """Write the differences from what was read."""
    commands, submissions = _changed_rows(unit, read_commands)
    buckets = [
        (name, bucket.next_free, bucket.next_queued, bucket.open_at)
        for name, bucket in unit.buckets.items()
        if read_buckets.get(name) != bucket
    ]
    seen = [
        (
            evidence.message_id,
            key,
            evidence.sender_address,
            evidence.destination_address,
            evidence.text_key,
            evidence.sent_at,
            evidence.status,
        )
        for key, evidence in unit.seen
    ]
    receipts = [
        (submission_id.command_id, submission_id.index, expected.sent_at, expected.ask_at)
        for submission_id, expected in unit.expected.items()
    ]
    for statement, rows in (
        (sql.put_command, commands),
        (sql.put_submission, submissions),
        (sql.put_observed_message, seen),
        (sql.put_bucket, buckets),
        (sql.put_receipt, receipts),
    ):
        if rows:
            connection.exec_driver_sql(statement, rows)


def _changed_rows(
    unit: UnitOfWork, read_commands: Mapping[str, CommandRecord]
) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Return the rows of the changed commands, and of their changed submissions."""
    commands, submissions = [], []
    for record in unit.commands.values():
        before = read_commands.get(record.id)
        if record is before:
            continue
        commands.append(
            (record.id, record.content_hash, record.version, record.created_at, record.updated_at)
        )
        for index, submission in record.submissions.items():
            if before is None or before.submissions.get(index) is not submission:
                stored_event = submission.stored_event
                event = (None, None) if stored_event is None else (stored_event.event_id, stored_event.body)
                submissions.append((record.id, index, *_fields_of(submission), *event))
    return commands, submissions


def command_record(row: Sequence[Any]) -> CommandRecord:
    """Return a command's record from its row, with the columns in the table's order; without submissions."""
    id_, content_hash, version, created_at, updated_at = row
    return CommandRecord(
        id=id_,
        content_hash=bytes(content_hash),
        version=version,
        created_at=created_at,
        updated_at=updated_at,
    )


def submission_record(row: Sequence[Any]) -> SubmissionRecord:
    """Return a submission's record from its row, with the columns in the table's order."""
    _, index, *values, event_id, event = row
    fields = dict(zip(SUBMISSION_FIELDS, values, strict=True))
    for name in _FLAGS:
        fields[name] = bool(fields[name])
    stored_event = None if event is None else StoredEvent(event_id=event_id, body=bytes(event))
    return SubmissionRecord(index=index, stored_event=stored_event, **fields)


def _read_evidence(connection: Connection, unit: UnitOfWork, read_sets: Sequence[ReadSet]) -> None:
    """Read what resolves submissions in doubt: other submissions to their destinations, and observed messages.

    Few changes need it, so SQLAlchemy builds these statements each time.
    """
    keys = {read_set.match_key for read_set in read_sets if read_set.match_key is not None}
    judged: dict[bytes, float] = {}
    for read_set in read_sets:
        if read_set.judged_key is not None:
            destination = destination_of(read_set.judged_key)
            judged[destination] = min(read_set.since, judged.get(destination, read_set.since))
    unit.nameless = {destination: _nameless(connection, destination) for destination in judged}
    unit.observed_messages = _observed_messages(connection, keys, judged)


def _nameless(connection: Connection, destination: bytes) -> dict[SubmissionId, SubmissionRecord]:
    found = _of_destination(submissions.c.match_key, destination) & text(MAY_HAVE_A_MESSAGE)
    return {
        SubmissionId(command_id=row.command_id, index=row.position): submission_record(row)
        for row in connection.execute(select(submissions).where(found))
    }


def _observed_messages(
    connection: Connection, keys: Collection[bytes], judged: Mapping[bytes, float]
) -> dict[bytes, list[Evidence]]:
    """Return the observed messages with these keys, or to these destinations since the given times, by key."""
    key, sent_at = observed_messages.c.match_key, observed_messages.c.sent_at
    wanted: list[ColumnElement[bool]] = [
        _of_destination(key, destination) & (sent_at >= since) for destination, since in judged.items()
    ]
    if keys:
        wanted.append(key.in_(keys))
    rows = {}
    for condition in wanted:
        for row in connection.execute(select(observed_messages).where(condition)):
            rows[row.message_id] = row
    found: dict[bytes, list[Evidence]] = defaultdict(list)
    for row in rows.values():
        evidence = Evidence(
            message_id=row.message_id,
            sender_address=row.sender_address,
            destination_address=row.destination_address,
            text_key=bytes(row.text_key),
            sent_at=row.sent_at,
            status=row.status,
        )
        found[bytes(row.match_key)].append(evidence)
    return found


def _of_destination(key: Column[bytes], destination: bytes) -> ColumnElement[bool]:
    """Return the condition that a match key begins with `destination`."""
    return key.between(destination, destination + _LAST)
