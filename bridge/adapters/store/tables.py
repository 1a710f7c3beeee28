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

#: What this code reads and writes: the newest of `bridge.adapters.store.migrations`.
REVISION = "0007"

#: Which submissions may have a message whose id is not known, as `SubmissionRecord.may_have_a_message` says it. A
#: database uses the index only for a condition in just these words.
MAY_HAVE_A_MESSAGE = (
    "(state = 'attempting' OR (message_id IS NULL AND state IN ('in_doubt', 'sent', 'unknown')))"
)

#: Where Alembic keeps the revision; not among `metadata`, since Alembic makes it.
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
    # `index` is a word of SQL.
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
    # Bytes rather than text: told again byte for byte, and a NUL is no trouble to any database.
    Column("event", LargeBinary),
    Index("submissions_message_id", "message_id"),
    # Only these are looked up by their keys, and they are few: the others leave the index with their ids.
    Index(
        "submissions_nameless",
        "match_key",
        sqlite_where=text(MAY_HAVE_A_MESSAGE),
        postgresql_where=text(MAY_HAVE_A_MESSAGE),
    ),
    sqlite_with_rowid=False,
)

#: Outbound messages that the provider told of by itself.
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

#: Rate limits: when the next slot and the next turn of each are, and when the next may go.
buckets = Table(
    "buckets",
    metadata,
    Column("name", String, primary_key=True),
    Column("next_free", Double, nullable=False),
    Column("next_queued", Double, nullable=False, server_default="0"),
    Column("open_at", Double, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)

#: Notifications that are events already, by the ids of those.
notifications = Table(
    "notifications",
    metadata,
    Column("event_id", String, primary_key=True),
    Column("seen_at", Double, nullable=False),
    Index("notifications_seen_at", "seen_at"),
    sqlite_with_rowid=False,
)

#: Until when the provider's history of a number of ours has been read whole.
watermarks = Table(
    "watermarks",
    metadata,
    Column("number", String, primary_key=True),
    Column("read_until", Double, nullable=False),
    sqlite_with_rowid=False,
)

#: Receipts that are awaited: of which submission, sent when, and when to ask for it.
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
