"""The ledger's tables, the same on every database. Times are seconds since the epoch."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    false,
    text,
)

metadata = MetaData()

#: The revision that this code reads and writes: the newest of `bridge.adapters.store.migrations`.
REVISION = "0007"

#: The condition for submissions that may have a message with an unknown id, as `SubmissionRecord.may_have_a_message`
#: has it. A database uses the index only for a condition with exactly this text.
MAY_HAVE_A_MESSAGE = (
    "(state = 'attempting' OR (message_id IS NULL AND state IN ('in_doubt', 'sent', 'unknown')))"
)

#: Alembic's table for the revision; not part of `metadata`, since Alembic creates it.
alembic_version = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))

#: Facts about the ledger itself, by name.
meta = Table(
    "meta",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
)

commands = Table(
    "commands",
    metadata,
    Column("id", String, primary_key=True),
    Column("content_hash", LargeBinary, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Index("commands_updated_at", "updated_at"),
    sqlite_with_rowid=False,
)

submissions = Table(
    "submissions",
    metadata,
    Column("command_id", String, primary_key=True),
    # `index` is a keyword of SQL.
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("state", String, nullable=False),
    Column("match_key", LargeBinary),
    Column("owner", String),
    Column("claimed_at", Double),
    Column("lease_until", Double),
    Column("attempts", Integer, nullable=False),
    Column("first_attempt_at", Double),
    Column("retry_at", Double),
    Column("reserved", Integer, nullable=False),
    Column("queued", Boolean, nullable=False, server_default=false()),
    Column("doubt_from", Double),
    Column("doubt_until", Double),
    Column("looked_at", Double),
    Column("submitted", Boolean, nullable=False),
    Column("earlier_in_doubt", Boolean, nullable=False, server_default=false()),
    Column("crashes", Integer, nullable=False),
    Column("replay", Integer, nullable=False),
    Column("may_resend", Boolean, nullable=False),
    Column("message_id", String),
    Column("recorded_in", Integer),
    Column("event_id", String),
    # Bytes rather than text: it is republished byte for byte, and no database has a problem with a NUL.
    Column("event", LargeBinary),
    Index("submissions_message_id", "message_id"),
    # Only these few are looked up by their keys. The others leave the index once their ids are known.
    Index(
        "submissions_nameless",
        "match_key",
        sqlite_where=text(MAY_HAVE_A_MESSAGE),
        postgresql_where=text(MAY_HAVE_A_MESSAGE),
    ),
    sqlite_with_rowid=False,
)

#: Outbound messages that the provider reported without being asked.
observed_messages = Table(
    "observed_messages",
    metadata,
    Column("message_id", String, primary_key=True),
    Column("match_key", LargeBinary, nullable=False),
    Column("sender_address", String),
    Column("destination_address", String, nullable=False),
    Column("text_key", LargeBinary, nullable=False),
    Column("sent_at", Double, nullable=False),
    Column("status", String),
    Index("observed_messages_match_key", "match_key", "sent_at"),
    Index("observed_messages_sent_at", "sent_at"),
    sqlite_with_rowid=False,
)

#: Rate limits: the next free reservation, the next queue position, and the time when the next call may start.
buckets = Table(
    "buckets",
    metadata,
    Column("name", String, primary_key=True),
    Column("next_free", Double, nullable=False),
    Column("next_queued", Double, nullable=False, server_default="0"),
    Column("open_at", Double, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)

#: Notifications that were published as events, by the events' ids.
notifications = Table(
    "notifications",
    metadata,
    Column("event_id", String, primary_key=True),
    Column("seen_at", Double, nullable=False),
    Index("notifications_seen_at", "seen_at"),
    sqlite_with_rowid=False,
)

#: The time until which the provider's history of one of our numbers was read completely.
watermarks = Table(
    "watermarks",
    metadata,
    Column("number", String, primary_key=True),
    Column("read_until", Double, nullable=False),
    sqlite_with_rowid=False,
)

#: Pending receipts: the submission, when it was sent, and when to poll.
receipts = Table(
    "receipts",
    metadata,
    Column("command_id", String, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("sent_at", Double, nullable=False),
    Column("ask_at", Double, nullable=False),
    Index("receipts_ask_at", "ask_at"),
    sqlite_with_rowid=False,
)
