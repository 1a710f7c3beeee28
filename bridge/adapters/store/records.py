"""Records to rows and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.domain.evidence import Evidence
from bridge.domain.ledger import Bucket, CommandRecord, SubmissionRecord, Told
from bridge.domain.receipts import Sent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import RowMapping

    from bridge.domain.ledger import Expected, Place

#: The columns of a submission that are named and kept as the record's fields are, in the table's order.
_ALIKE = (
    "state",
    "match_key",
    "owner",
    "claimed_at",
    "lease_until",
    "attempts",
    "first_attempt_at",
    "retry_at",
    "granted",
    "turn",
    "doubt_from",
    "doubt_until",
    "looked_at",
    "submitted",
    "undecided",
    "crashes",
    "replay",
    "may_resend",
    "message_id",
    "filed_in",
)

_FLAGS = ("turn", "submitted", "undecided", "may_resend")


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
    row: dict[str, object] = {name: getattr(record, name) for name in _ALIKE}
    row["command_id"] = command_id
    row["position"] = record.index
    row["event_id"] = None if told is None else told.event_id
    row["event"] = None if told is None else told.body
    return row


def command_record(row: Sequence[Any]) -> CommandRecord:
    """Return the record of a command, from its row's columns as the table has them; no submissions are in it yet."""
    id_, content_hash, generation, created_at, updated_at = row
    return CommandRecord(
        id=id_,
        content_hash=bytes(content_hash),
        generation=generation,
        created_at=created_at,
        updated_at=updated_at,
    )


def submission_record(row: Sequence[Any]) -> SubmissionRecord:
    """Return the record of a submission, from its row's columns as the table has them."""
    _, index, *alike, event_id, event = row
    told = None if event is None else Told(event_id=event_id, body=bytes(event))
    fields = dict(zip(_ALIKE, alike, strict=True))
    for name in _FLAGS:
        # SQLite has no truth values of its own.
        fields[name] = bool(fields[name])
    return SubmissionRecord(index=index, told=told, **fields)


def bucket(row: Sequence[Any]) -> Bucket:
    """Return a rate limit, from its row's columns as the table has them."""
    _, next_free, next_turn, open_at = row
    return Bucket(next_free=next_free, next_turn=next_turn, open_at=open_at)


def bucket_row(name: str, bucket: Bucket) -> dict[str, object]:
    """Return the row of a rate limit."""
    return {
        "name": name,
        "next_free": bucket.next_free,
        "next_turn": bucket.next_turn,
        "open_at": bucket.open_at,
    }


def receipt_row(place: Place, expected: Expected) -> dict[str, object]:
    """Return the row of a receipt that is awaited."""
    return {
        "command_id": place.command_id,
        "position": place.index,
        "sent_at": expected.sent_at,
        "ask_at": expected.ask_at,
    }


def sent(row: RowMapping) -> Sent:
    """Return a submission that was sent, from its row."""
    return Sent(
        command_id=row["command_id"],
        index=row["position"],
        replay=row["replay"],
        message_id=row["message_id"],
        event=bytes(row["event"]),
    )


def sighting_row(key: bytes, evidence: Evidence) -> dict[str, object]:
    """Return the row of a message that was seen."""
    return {
        "message_id": evidence.message_id,
        "match_key": key,
        "sender_address": evidence.sender_address,
        "destination_address": evidence.destination_address,
        "text_key": evidence.text_key,
        "sent_at": evidence.sent_at,
        "status": evidence.status,
    }


def sighting(row: RowMapping) -> Evidence:
    """Return a message that was seen."""
    return Evidence(
        message_id=row["message_id"],
        sender_address=row["sender_address"],
        destination_address=row["destination_address"],
        text_key=bytes(row["text_key"]),
        sent_at=row["sent_at"],
        status=row["status"],
    )
