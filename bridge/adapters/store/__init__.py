"""The ledger's databases: the only room that imports SQLAlchemy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.domain.ledger_url import PostgresDatabase, SqliteFile, read_ledger_url
from bridge.ports import LedgerUnusable

if TYPE_CHECKING:
    from bridge.adapters.store.ledger import SqlLedger
    from bridge.adapters.store.reader import LedgerReader
    from bridge.adapters.store.receipts import SqlReceipts
    from bridge.adapters.store.seen import SqlSeen


def open_ledger(url: str) -> SqlLedger:
    """Open the ledger that `url` names, bringing its tables to this bridge's revision.

    See `bridge.domain.ledger_url` for what it may be.

    Raises:
        LedgerUnavailable: it can't be opened.
        LedgerUnusable: it is another bridge's, or `url` names a database that this bridge can't use.

    """
    # Not at the top: each database's driver is loaded where it is used.
    match _named(url):
        case PostgresDatabase(parameters):
            from bridge.adapters.store.postgresql import open_postgresql

            return open_postgresql(parameters)
        case SqliteFile(path):
            from bridge.adapters.store.sqlite import open_sqlite

            return open_sqlite(path)


def check_url(url: str) -> None:
    """Check that this bridge can use the database that `url` names, without connecting to it.

    Raises:
        LedgerUnusable: it can't: it is another kind, `url` can't be read, the driver or a certificate is missing, or
            others can write to the file.

    """
    match _named(url):
        case PostgresDatabase(parameters):
            from bridge.adapters.store.sessions import postgresql_engine

            postgresql_engine(parameters).dispose()
        case SqliteFile(path):
            from bridge.adapters.store.sqlite import check_file

            check_file(path)


def open_seen(url: str) -> SqlSeen:
    """Open the memory of notifications in the ledger that `url` names, bringing its tables to this bridge's revision.

    Raises:
        LedgerUnavailable: as `open_ledger` does.

    """
    open_ledger(url).close()
    match _named(url):
        case PostgresDatabase(parameters):
            from bridge.adapters.store.postgresql import open_postgresql_seen

            return open_postgresql_seen(parameters)
        case SqliteFile(path):
            from bridge.adapters.store.sqlite import open_sqlite_seen

            return open_sqlite_seen(path)


def open_receipts(url: str) -> SqlReceipts:
    """Open what is known of awaited receipts in the ledger that `url` names, bringing its tables to this revision.

    Raises:
        LedgerUnavailable: as `open_ledger` does.

    """
    open_ledger(url).close()
    match _named(url):
        case PostgresDatabase(parameters):
            from bridge.adapters.store.postgresql import open_postgresql_receipts

            return open_postgresql_receipts(parameters)
        case SqliteFile(path):
            from bridge.adapters.store.sqlite import open_sqlite_receipts

            return open_sqlite_receipts(path)


def read_ledger(url: str) -> LedgerReader:
    """Return the ledger that `url` names to look at: nothing is created and nothing changed.

    Raises:
        LedgerUnavailable: there is none.
        LedgerUnusable: `url` names a database that this bridge can't use.

    """
    from bridge.adapters.store.reader import LedgerReader

    match _named(url):
        case PostgresDatabase(parameters):
            from bridge.adapters.store.sessions import postgresql_engine

            return LedgerReader(postgresql_engine(parameters))
        case SqliteFile(path):
            from bridge.adapters.store.sqlite import sqlite_reader

            return LedgerReader(sqlite_reader(path))


def _named(url: str) -> SqliteFile | PostgresDatabase:
    try:
        return read_ledger_url(url)
    except ValueError as e:
        raise LedgerUnusable(f"ledger.url: {e}") from None
