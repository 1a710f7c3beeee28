"""A column for submissions that are retried while an earlier attempt is in doubt."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column."""
    op.add_column(
        "submissions", sa.Column("undecided", sa.Boolean, nullable=False, server_default=sa.false())
    )
