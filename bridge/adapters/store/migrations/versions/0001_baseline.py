"""The tables of the first release."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create all tables."""
    op.create_table(
        "meta",
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("value", sa.String, nullable=False),
    )
    op.create_table(
        "commands",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("content_hash", sa.LargeBinary, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("commands_updated_at", "commands", ["updated_at"])
    _create_submissions()
    op.create_table(
        "sightings",
        sa.Column("message_id", sa.String, primary_key=True),
        sa.Column("match_key", sa.LargeBinary, nullable=False),
        sa.Column("sender_address", sa.String),
        sa.Column("destination_address", sa.String, nullable=False),
        sa.Column("text_key", sa.LargeBinary, nullable=False),
        sa.Column("sent_at", sa.Double, nullable=False),
        sa.Column("status", sa.String),
        sqlite_with_rowid=False,
    )
    op.create_index("sightings_match_key", "sightings", ["match_key"])
    op.create_index("sightings_sent_at", "sightings", ["sent_at"])
    op.create_table(
        "buckets",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("next_free", sa.Double, nullable=False),
        sqlite_with_rowid=False,
    )


def _create_submissions() -> None:
    op.create_table(
        "submissions",
        sa.Column("command_id", sa.String, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("match_key", sa.LargeBinary),
        sa.Column("owner", sa.String),
        sa.Column("claimed_at", sa.Double),
        sa.Column("lease_until", sa.Double),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("first_attempt_at", sa.Double),
        sa.Column("retry_at", sa.Double),
        sa.Column("granted", sa.Integer, nullable=False),
        sa.Column("doubt_from", sa.Double),
        sa.Column("doubt_until", sa.Double),
        sa.Column("submitted", sa.Boolean, nullable=False),
        sa.Column("crashes", sa.Integer, nullable=False),
        sa.Column("replay", sa.Integer, nullable=False),
        sa.Column("may_resend", sa.Boolean, nullable=False),
        sa.Column("message_id", sa.String),
        sa.Column("filed_in", sa.Integer),
        sa.Column("event_id", sa.String),
        sa.Column("event", sa.LargeBinary),
        sqlite_with_rowid=False,
    )
    op.create_index("submissions_message_id", "submissions", ["message_id"])
    op.create_index("submissions_match_key", "submissions", ["match_key"])
