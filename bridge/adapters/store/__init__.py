"""The SQL ledger and its stores; the only package that imports SQLAlchemy."""

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
    """Open the ledger that `url` names and migrate its tables to this bridge's revision.

    `bridge.domain.ledger_url` describes `url`.

    Raises:
        LedgerUnavailable: the ledger can't be opened.
        LedgerUnusable: another version of the bridge wrote it, or this bridge can't use the database.

    """
    # Imported here: each driver is loaded only where it is used.
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
        LedgerUnusable: the database is of an unknown kind, `url` can't be parsed, the driver or a certificate is
            missing, or every user of the machine can write to the file.

    """
    match _named(url):
        case PostgresDatabase(parameters):
            from bridge.adapters.store.sessions import postgresql_engine

            postgresql_engine(parameters).dispose()
        case SqliteFile(path):
            from bridge.adapters.store.sqlite import check_file

            check_file(path)


def open_seen(url: str) -> SqlSeen:
    """Open the store of seen notifications in the ledger that `url` names and migrate its tables.

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
    """Open the store of pending receipts in the ledger that `url` names and migrate its tables.

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
    """Open the ledger that `url` names for reading only; nothing is created or changed.

    Raises:
        LedgerUnavailable: the ledger does not exist.
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
