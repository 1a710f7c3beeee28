"""The ledger's tables, the same on every database. Times are seconds since the epoch."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, LargeBinary, MetaData, String, Table

metadata = MetaData()

#: What this code reads and writes; another version on disk is not ours to touch.
SCHEMA_VERSION = 1

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
    Column("generation", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
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
    Column("owner", String),
    Column("lease_until", Float),
    Column("attempts", Integer, nullable=False),
    Column("first_attempt_at", Float),
    Column("retry_at", Float),
    Column("message_id", String),
    Column("filed_in", Integer),
    Column("event_id", String),
    # Bytes rather than text: told again byte for byte, and a NUL is no trouble to any database.
    Column("event", LargeBinary),
    Index("submissions_message_id", "message_id"),
    sqlite_with_rowid=False,
)
