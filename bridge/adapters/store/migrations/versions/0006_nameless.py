"""An index by destination of the submissions that may have a message with an unknown id."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_NAMELESS = "(state = 'attempting' OR (message_id IS NULL AND state IN ('doubtful', 'sent', 'unknown')))"


def upgrade() -> None:
    """Change the indexes, and add the time of a lookup that found nothing.

    A submission in doubt keeps a key of the old kind, 32 bytes: unless its message is found, it ends as `unknown`.
    """
    op.add_column("submissions", sa.Column("looked_at", sa.Double))
    op.drop_index("submissions_match_key", "submissions")
    op.create_index(
        "submissions_nameless",
        "submissions",
        ["match_key"],
        sqlite_where=sa.text(_NAMELESS),
        postgresql_where=sa.text(_NAMELESS),
    )
    op.drop_index("sightings_match_key", "sightings")
    op.create_index("sightings_match_key", "sightings", ["match_key", "sent_at"])
