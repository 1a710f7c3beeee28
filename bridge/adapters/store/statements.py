"""The SQL of the hot path, as each database's driver takes it.

A list of values is one parameter. So the text of a statement is constant, the database prepares it once, and the number
of parameters has no limit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: The columns of a submission that its record has as fields with the same names.
SUBMISSION_FIELDS = (
    "state",
    "match_key",
    "owner",
    "claimed_at",
    "lease_until",
    "attempts",
    "first_attempt_at",
    "retry_at",
    "reserved",
    "queued",
    "doubt_from",
    "doubt_until",
    "looked_at",
    "submitted",
    "earlier_in_doubt",
    "crashes",
    "replay",
    "may_resend",
    "message_id",
    "recorded_in",
)

_COMMAND = "id, content_hash, version, created_at, updated_at"
_SUBMISSION = f"command_id, position, {', '.join(SUBMISSION_FIELDS)}, event_id, event"
_OBSERVED_MESSAGE = "message_id, match_key, sender_address, destination_address, text_key, sent_at, status"
_BUCKET = "name, next_free, next_queued, open_at"
_RECEIPT = "command_id, position, sent_at, ask_at"

_PUT_COMMAND = f"""
INSERT INTO commands ({_COMMAND}) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    content_hash = excluded.content_hash,
    version = excluded.version,
    created_at = excluded.created_at,
    updated_at = excluded.updated_at
"""  # noqa: S608 - names of ours alone, here and below
_PUT_SUBMISSION = f"""
INSERT INTO submissions ({_SUBMISSION})
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (command_id, position) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in (*SUBMISSION_FIELDS, "event_id", "event"))}
"""  # noqa: S608
_PUT_OBSERVED_MESSAGE = f"""
INSERT INTO observed_messages ({_OBSERVED_MESSAGE}) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (message_id) DO UPDATE SET
    match_key = excluded.match_key,
    sender_address = excluded.sender_address,
    destination_address = excluded.destination_address,
    text_key = excluded.text_key,
    sent_at = excluded.sent_at,
    status = excluded.status
"""  # noqa: S608
_PUT_BUCKET = f"""
INSERT INTO buckets ({_BUCKET}) VALUES (?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET
    next_free = excluded.next_free,
    next_queued = excluded.next_queued,
    open_at = excluded.open_at
"""  # noqa: S608
_PUT_RECEIPT = f"""
INSERT INTO receipts ({_RECEIPT}) VALUES (?, ?, ?, ?)
ON CONFLICT (command_id, position) DO UPDATE SET
    sent_at = excluded.sent_at,
    ask_at = excluded.ask_at
"""  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """The statements of one database, and its driver's form of a list of values."""

    as_list: Callable[[list[Any]], object]
    #: The parameters are lists: ids; ids and positions; message ids; names; event ids.
    commands: str
    submissions: str
    owners: str
    buckets: str
    notifications: str
    #: Records a list of event ids; the time is the first parameter.
    note: str
    #: One row each, in the order of the table's columns.
    put_command: str
    put_submission: str
    put_observed_message: str
    put_bucket: str
    put_receipt: str


SQLITE = Statements(
    as_list=json.dumps,
    commands=f"SELECT {_COMMAND} FROM commands WHERE id IN (SELECT value FROM json_each(?))",  # noqa: S608
    submissions=f"""
SELECT {_SUBMISSION} FROM submissions
WHERE command_id IN (SELECT value FROM json_each(?)) AND position IN (SELECT value FROM json_each(?))
""",  # noqa: S608
    owners="""
SELECT message_id, command_id, position FROM submissions
WHERE message_id IN (SELECT value FROM json_each(?))
""",
    buckets=f"SELECT {_BUCKET} FROM buckets WHERE name IN (SELECT value FROM json_each(?))",  # noqa: S608
    notifications="SELECT event_id FROM notifications WHERE event_id IN (SELECT value FROM json_each(?))",
    note="""
INSERT INTO notifications (event_id, seen_at) SELECT value, ? FROM json_each(?) WHERE true
ON CONFLICT DO NOTHING
""",
    put_command=_PUT_COMMAND,
    put_submission=_PUT_SUBMISSION,
    put_observed_message=_PUT_OBSERVED_MESSAGE,
    put_bucket=_PUT_BUCKET,
    put_receipt=_PUT_RECEIPT,
)

POSTGRESQL = Statements(
    as_list=list,
    commands=f"SELECT {_COMMAND} FROM commands WHERE id = ANY(%s)",  # noqa: S608
    submissions=f"SELECT {_SUBMISSION} FROM submissions WHERE command_id = ANY(%s) AND position = ANY(%s)",  # noqa: S608
    owners="SELECT message_id, command_id, position FROM submissions WHERE message_id = ANY(%s)",
    buckets=f"SELECT {_BUCKET} FROM buckets WHERE name = ANY(%s)",  # noqa: S608
    notifications="SELECT event_id FROM notifications WHERE event_id = ANY(%s)",
    note="""
INSERT INTO notifications (event_id, seen_at) SELECT id, %s FROM unnest(%s::text[]) AS id
ON CONFLICT DO NOTHING
""",
    put_command=_PUT_COMMAND.replace("?", "%s"),
    put_submission=_PUT_SUBMISSION.replace("?", "%s"),
    put_observed_message=_PUT_OBSERVED_MESSAGE.replace("?", "%s"),
    put_bucket=_PUT_BUCKET.replace("?", "%s"),
    put_receipt=_PUT_RECEIPT.replace("?", "%s"),
)

#: By SQLAlchemy's name of the database.
STATEMENTS = {"sqlite": SQLITE, "postgresql": POSTGRESQL}
