"""The queue of a rate limit for late submissions, and the time of its last call."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns; reservations stay."""
    for name in ("next_turn", "open_at"):
        op.add_column("buckets", sa.Column(name, sa.Double, nullable=False, server_default="0"))
    op.add_column("submissions", sa.Column("turn", sa.Boolean, nullable=False, server_default=sa.false()))
