"""Standard terms for tables, columns and states."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_MAY_HAVE_A_MESSAGE = (
    "(state = 'attempting' OR (message_id IS NULL AND state IN ('in_doubt', 'sent', 'unknown')))"
)
_COLUMNS = (
    ("commands", "generation", "version"),
    ("submissions", "filed_in", "recorded_in"),
    ("submissions", "granted", "reserved"),
    ("submissions", "turn", "queued"),
    ("submissions", "undecided", "earlier_in_doubt"),
    ("buckets", "next_turn", "next_queued"),
)


def upgrade() -> None:
    """Rename tables, columns and states; no row is lost."""
    for table, before, after in _COLUMNS:
        # Both databases know this statement; Alembic would copy a table of SQLite's.
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {before} TO {after}")
    op.drop_index("submissions_nameless", "submissions")
    op.execute("UPDATE submissions SET state = 'in_doubt' WHERE state = 'doubtful'")
    op.create_index(
        "submissions_nameless",
        "submissions",
        ["match_key"],
        sqlite_where=sa.text(_MAY_HAVE_A_MESSAGE),
        postgresql_where=sa.text(_MAY_HAVE_A_MESSAGE),
    )
    for index in ("sightings_match_key", "sightings_sent_at"):
        op.drop_index(index, "sightings")
    op.rename_table("sightings", "observed_messages")
    op.create_index("observed_messages_match_key", "observed_messages", ["match_key", "sent_at"])
    op.create_index("observed_messages_sent_at", "observed_messages", ["sent_at"])
