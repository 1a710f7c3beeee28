"""A unit of work and the tables: read what a batch of changes needs, apply the changes, write what they changed."""

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

#: Comes after every text in a match key, which is a digest of 32 bytes.
_LAST = b"\xff" * 33
#: SQLite has no truth values of its own.
_FLAGS = ("queued", "submitted", "earlier_in_doubt", "may_resend")

_fields_of = attrgetter(*SUBMISSION_FIELDS)


def read(connection: Connection, sql: Statements, read_sets: Sequence[ReadSet]) -> UnitOfWork:
    """Return a unit of work with all that is needed."""
    run, as_list = connection.exec_driver_sql, sql.as_list
    unit = UnitOfWork(commands=_read_commands(connection, sql, read_sets))
    names = {name for need in read_sets for name in need.buckets}
    if names:
        for name, next_free, next_queued, open_at in run(sql.buckets, (as_list(list(names)),)).all():
            unit.buckets[name] = Bucket(next_free=next_free, next_queued=next_queued, open_at=open_at)
    doubts = [need for need in read_sets if need.match_key is not None or need.judges is not None]
    if doubts:
        _read_doubts(connection, unit, doubts)
    message_ids = {message_id for need in read_sets for message_id in need.message_ids}
    message_ids.update(seen.message_id for found in unit.observed_messages.values() for seen in found)
    if message_ids:
        for message_id, command_id, index in run(sql.owners, (as_list(list(message_ids)),)).all():
            unit.owners[message_id] = SubmissionId(command_id=command_id, index=index)
    return unit


def _read_commands(
    connection: Connection, sql: Statements, read_sets: Sequence[ReadSet]
) -> dict[str, CommandRecord]:
    """Return the commands that are needed, each with those of its submissions that are."""
    run, as_list = connection.exec_driver_sql, sql.as_list
    ids = {need.command_id for need in read_sets if need.command_id is not None}
    indexes = {need.index for need in read_sets if need.index is not None}
    rows = run(sql.commands, (as_list(list(ids)),)).all() if ids else ()
    commands = {row[0]: command_record(row) for row in rows}
    if commands and indexes:
        for row in run(sql.submissions, (as_list(list(commands)), as_list(list(indexes)))).all():
            commands[row[0]].submissions[row[1]] = submission_record(row)
    return commands


def apply(changes: Sequence[Change], unit: UnitOfWork) -> list[object]:
    """Apply the changes in order; return what each gave back.

    Raises:
        ChangeRefused: one of them broke down; the unit of work is worth nothing then.

    """
    results = []
    for change in changes:
        try:
            results.append(change.apply(unit))
        except Exception as e:
            raise ChangeRefused(f"{type(change).__name__} broke down: {type(e).__name__}") from e
    return results


def write(
    connection: Connection,
    sql: Statements,
    unit: UnitOfWork,
    read_commands: Mapping[str, CommandRecord],
    read_buckets: Mapping[str, Bucket],
) -> None:
    """Write what differs from what was read."""
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
    """Return the rows of the commands that were changed, and of their submissions that were."""
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
    """Return the record of a command, from its row's columns as the table has them; no submissions are in it yet."""
    id_, content_hash, version, created_at, updated_at = row
    return CommandRecord(
        id=id_,
        content_hash=bytes(content_hash),
        version=version,
        created_at=created_at,
        updated_at=updated_at,
    )


def submission_record(row: Sequence[Any]) -> SubmissionRecord:
    """Return the record of a submission, from its row's columns as the table has them."""
    _, index, *values, event_id, event = row
    fields = dict(zip(SUBMISSION_FIELDS, values, strict=True))
    for name in _FLAGS:
        fields[name] = bool(fields[name])
    stored_event = None if event is None else StoredEvent(event_id=event_id, body=bytes(event))
    return SubmissionRecord(index=index, stored_event=stored_event, **fields)


def _read_doubts(connection: Connection, unit: UnitOfWork, read_sets: Sequence[ReadSet]) -> None:
    """Read what submissions in doubt are judged by: others to their destinations, and observed messages.

    Few changes need it, so SQLAlchemy builds these statements each time.
    """
    keys = {need.match_key for need in read_sets if need.match_key is not None}
    judged: dict[bytes, float] = {}
    for need in read_sets:
        if need.judges is not None:
            destination = destination_of(need.judges)
            judged[destination] = min(need.since, judged.get(destination, need.since))
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
    """Return the observed messages with these keys, and those to these destinations since then, by their keys."""
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
