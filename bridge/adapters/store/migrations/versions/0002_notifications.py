"""The ingest's tables: seen notifications, and the watermarks of the provider's history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two tables."""
    op.create_table(
        "notifications",
        sa.Column("event_id", sa.String, primary_key=True),
        sa.Column("seen_at", sa.Double, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("notifications_seen_at", "notifications", ["seen_at"])
    op.create_table(
        "watermarks",
        sa.Column("number", sa.String, primary_key=True),
        sa.Column("read_until", sa.Double, nullable=False),
        sqlite_with_rowid=False,
    )
