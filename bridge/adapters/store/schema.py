"""The revision of a database's tables, and their migration to this bridge's revision.

Alembic takes longer to load than a worker takes to start, so it is loaded only for a migration.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, select

from bridge.adapters.store.tables import REVISION, alembic_version, meta
from bridge.ports import LedgerUnavailable, LedgerUnusable

if TYPE_CHECKING:
    from sqlalchemy import Connection

MIGRATIONS = Path(__file__).with_name("migrations")


def recorded_revision(connection: Connection) -> str | None:
    """Return the revision recorded in the database; None if it has none of our tables.

    Raises:
        LedgerUnusable: it has our tables without a recorded revision.

    """
    names = set(inspect(connection).get_table_names())
    if alembic_version.name in names:
        return connection.execute(select(alembic_version.c.version_num)).scalar_one_or_none()
    if meta.name in names:
        raise LedgerUnusable(
            "the ledger was made by a bridge from before its first release and can't be migrated: "
            "run the bridge that wrote it, or name another ledger.url"
        )
    return None


def bring_up(connection: Connection) -> str | None:
    """Migrate the database to this bridge's revision in the current transaction; return the revision before.

    The caller ensures that no other process migrates at the same time.

    Raises:
        LedgerUnusable: the database has a revision that this bridge does not know.

    """
    before = recorded_revision(connection)
    if before != REVISION:
        _migrate(connection, before)
    return before


def check(connection: Connection) -> str | None:
    """Return the recorded revision; nothing is changed.

    Raises:
        LedgerUnavailable: there is no ledger.
        LedgerUnusable: it has another revision.

    """
    recorded = recorded_revision(connection)
    if recorded is None:
        raise LedgerUnavailable("there is no ledger yet: start a worker, or run `bridge ledger migrate`")
    if recorded != REVISION:
        raise LedgerUnusable(
            f"the ledger has schema revision {recorded}, this bridge has {REVISION}: "
            "run `bridge ledger migrate`, or the bridge that wrote it"
        )
    return recorded


def _migrate(connection: Connection, before: str | None) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config(attributes={"connection": connection})
    # configparser interpolates percent signs, which a path may contain.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if before is not None and before not in known:
        raise LedgerUnusable(
            f"the ledger has schema revision {before}, which is newer than this bridge ({REVISION}): "
            "run the bridge that wrote it, or name another ledger.url"
        )
    command.upgrade(config, REVISION)
