"""The ledger's databases: the only room that imports SQLAlchemy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.ports import LedgerUnusable

if TYPE_CHECKING:
    from bridge.adapters.store.reading import LedgerReader
    from bridge.adapters.store.receipts import SqlReceipts
    from bridge.adapters.store.seen import SqlSeen
    from bridge.adapters.store.sql import SqlLedger

SQLITE = "sqlite:///"
POSTGRESQL = ("postgresql://", "postgresql+psycopg://")


def open_ledger(url: str) -> SqlLedger:
    """Open the ledger that `url` names, bringing its tables to this bridge's revision.

    ``sqlite:///path``, or ``postgresql+psycopg://user@host/database`` (``postgresql://`` is the same).

    Raises:
        LedgerUnavailable: it can't be opened.
        LedgerUnusable: it is another bridge's, or `url` names a database that this bridge can't use.

    """
    # Not at the top: each database's driver is loaded where it is used.
    if url.startswith(POSTGRESQL):
        from bridge.adapters.store.postgresql import open_postgresql

        return open_postgresql(url)
    from bridge.adapters.store.sqlite import open_sqlite

    return open_sqlite(_path(url))


def check_url(url: str) -> None:
    """Check that this bridge can use a database such as `url` names, without connecting to it.

    Raises:
        LedgerUnusable: it can't: it is another kind, `url` can't be read, or the driver is not installed.

    """
    if url.startswith(POSTGRESQL):
        from bridge.adapters.store.postgresql import postgresql_engine

        postgresql_engine(url).dispose()
    else:
        _path(url)


def open_seen(url: str) -> SqlSeen:
    """Open the memory of notifications in the ledger that `url` names, bringing its tables to this bridge's revision.

    Raises:
        LedgerUnavailable: as `open_ledger` does.

    """
    open_ledger(url).close()
    if url.startswith(POSTGRESQL):
        from bridge.adapters.store.postgresql import open_postgresql_seen

        return open_postgresql_seen(url)
    from bridge.adapters.store.sqlite import open_sqlite_seen

    return open_sqlite_seen(_path(url))


def open_receipts(url: str) -> SqlReceipts:
    """Open what is known of awaited receipts in the ledger that `url` names, bringing its tables to this revision.

    Raises:
        LedgerUnavailable: as `open_ledger` does.

    """
    open_ledger(url).close()
    if url.startswith(POSTGRESQL):
        from bridge.adapters.store.postgresql import open_postgresql_receipts

        return open_postgresql_receipts(url)
    from bridge.adapters.store.sqlite import open_sqlite_receipts

    return open_sqlite_receipts(_path(url))


def read_ledger(url: str) -> LedgerReader:
    """Return the ledger that `url` names to look at: nothing is created and nothing changed.

    Raises:
        LedgerUnavailable: there is none.
        LedgerUnusable: `url` names a database that this bridge can't use.

    """
    from bridge.adapters.store.reading import LedgerReader

    if url.startswith(POSTGRESQL):
        from bridge.adapters.store.postgresql import postgresql_engine

        return LedgerReader(postgresql_engine(url))
    from bridge.adapters.store.sqlite import sqlite_reader

    return LedgerReader(sqlite_reader(_path(url)))


def _path(url: str) -> str:
    if not url.startswith(SQLITE) or url == SQLITE:
        raise LedgerUnusable(
            "ledger.url names no database this bridge can use: "
            "give sqlite:///path/to/file or postgresql+psycopg://user@host/database"
        )
    return url.removeprefix(SQLITE)
