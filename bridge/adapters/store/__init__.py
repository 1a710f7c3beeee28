"""The ledger's databases: the only room that imports SQLAlchemy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.ports import LedgerUnavailable

if TYPE_CHECKING:
    from bridge.adapters.store.sql import SqlLedger

SQLITE = "sqlite:///"


def open_ledger(url: str) -> SqlLedger:
    """Open the ledger that `url` names: ``sqlite:///path``.

    Raises:
        LedgerUnavailable: it can't be opened, or `url` names a database that this bridge can't use.

    """
    from bridge.adapters.store.sqlite import open_sqlite

    if not url.startswith(SQLITE) or url == SQLITE:
        raise LedgerUnavailable(
            "ledger.url names no database this bridge can use: give sqlite:///path/to/file"
        )
    return open_sqlite(url.removeprefix(SQLITE))
