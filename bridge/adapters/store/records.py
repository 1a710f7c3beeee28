"""Records to rows and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.core.ledger import CommandRecord, SubmissionRecord, Told

if TYPE_CHECKING:
    from sqlalchemy import RowMapping


def command_row(record: CommandRecord) -> dict[str, object]:
    """Return the row of a command."""
    return {
        "id": record.id,
        "content_hash": record.content_hash,
        "generation": record.generation,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }


def submission_row(command_id: str, record: SubmissionRecord) -> dict[str, object]:
    """Return the row of a submission."""
    told = record.told
    return {
        "command_id": command_id,
        "position": record.index,
        "state": record.state,
        "owner": record.owner,
        "lease_until": record.lease_until,
        "attempts": record.attempts,
        "first_attempt_at": record.first_attempt_at,
        "retry_at": record.retry_at,
        "message_id": record.message_id,
        "filed_in": record.filed_in,
        "event_id": None if told is None else told.event_id,
        "event": None if told is None else told.body,
    }


def command_record(row: RowMapping) -> CommandRecord:
    """Return the record of a command, its submissions still to be put in."""
    return CommandRecord(
        id=row["id"],
        content_hash=bytes(row["content_hash"]),
        generation=row["generation"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def submission_record(row: RowMapping) -> SubmissionRecord:
    """Return the record of a submission."""
    event_id, event = row["event_id"], row["event"]
    return SubmissionRecord(
        index=row["position"],
        state=row["state"],
        owner=row["owner"],
        lease_until=row["lease_until"],
        attempts=row["attempts"],
        first_attempt_at=row["first_attempt_at"],
        retry_at=row["retry_at"],
        message_id=row["message_id"],
        filed_in=row["filed_in"],
        told=None if event is None else Told(event_id=event_id, body=bytes(event)),
    )
