"""The table of pending receipts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table."""
    op.create_table(
        "receipts",
        sa.Column("command_id", sa.String, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sent_at", sa.Double, nullable=False),
        sa.Column("ask_at", sa.Double, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("receipts_ask_at", "receipts", ["ask_at"])
