"""PostgreSQL as the ledger's database: for workers on any number of hosts.

Rows can't be locked before they exist, and two first claims of one id must not both see none. So what is locked is not
rows but names, as advisory locks: of every command, every pair and text, and every rate limit that a batch may change.
They are taken in one statement, in the order of their numbers, so that no two batches wait for each other; they end
with the transaction, after it is visible to others.
"""

from __future__ import annotations

from contextlib import contextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from bridge.adapters.store.ledger import SqlLedger, unavailable
from bridge.adapters.store.receipts import SqlReceipts
from bridge.adapters.store.seen import SqlSeen
from bridge.adapters.store.sessions import STATEMENT_TIMEOUT, lineage_of, postgresql_engine
from bridge.adapters.store.statements import POSTGRESQL
from bridge.domain.match_keys import destination_key, destination_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from bridge.domain.ledger import ReadSet
    from bridge.domain.lineage import Lineage

#: Seconds that a statement may take for whoever looks up and notes notifications: what waits for it is a webhook.
SEEN_TIMEOUT = 1.0
#: Names that a batch locks one by one; a bigger one takes the whole ledger. A server has room for some 6,400 locks.
MOST_LOCKS = 256

_LOCK_ALL = "SELECT pg_advisory_xact_lock(%s)"
#: Everybody shares the lock on the whole ledger, so that one who needs all of it can have it.
_SHARE = "SELECT pg_advisory_xact_lock_shared(%s)"
_LOCK_NAMES = (
    "SELECT pg_advisory_xact_lock_shared(%s), pg_advisory_xact_lock(name) FROM unnest(%s::bigint[]) AS name"
)
_TIME = "SELECT extract(epoch FROM clock_timestamp())"


def open_postgresql(
    parameters: Mapping[str, str], *, statement_timeout: float = STATEMENT_TIMEOUT
) -> SqlLedger:
    """Open the ledger in the database that libpq's `parameters` name; creates what is missing.

    `statement_timeout` is in seconds, for statements and for locks.

    Raises:
        LedgerUnavailable: the database can't be reached, or its tables are not ours.
        LedgerUnusable: it can't hold every text, or the parameters can't be used.

    """
    ledger = SqlLedger(LedgerDatabase(parameters, statement_timeout))
    try:
        ledger.open()
    except BaseException:
        ledger.close()
        raise
    return ledger


def open_postgresql_seen(parameters: Mapping[str, str]) -> SqlSeen:
    """Open the memory of notifications in the ledger that `parameters` name, which is there."""
    return SqlSeen(postgresql_engine(parameters, statement_timeout=SEEN_TIMEOUT, takes_old=False))


def open_postgresql_receipts(parameters: Mapping[str, str]) -> SqlReceipts:
    """Open what is known of awaited receipts in the ledger that `parameters` name, which is there."""
    return SqlReceipts(postgresql_engine(parameters, takes_old=False))


class LedgerDatabase:
    """A ledger's database, which others write to meanwhile."""

    statements = POSTGRESQL

    def __init__(self, parameters: Mapping[str, str], statement_timeout: float) -> None:
        self.engine = postgresql_engine(parameters, statement_timeout=statement_timeout)

    @contextmanager
    def transaction(
        self, read_sets: Sequence[ReadSet] | None = (), check: Callable[[Connection], None] | None = None
    ) -> Iterator[Connection]:
        """Commit what the block does; see `bridge.adapters.store.ledger.Database`."""
        try:
            with self._begun(read_sets, check) as connection:
                yield connection
                connection.commit()
        except (SQLAlchemyError, OSError) as e:
            raise unavailable(e) from e

    def time(self, check: Callable[[Connection], None]) -> float:
        """Return the server's time."""
        with self.transaction((), check) as connection:
            return float(connection.exec_driver_sql(_TIME).scalar_one())

    def lineage_of(self, connection: Connection) -> Lineage | None:
        """Return the lineage of the server that a connection leads to; None where that is not known."""
        return lineage_of(connection)

    def _begun(
        self, read_sets: Sequence[ReadSet] | None, check: Callable[[Connection], None] | None
    ) -> Connection:
        """Return a connection with the locks held; a second one where the first was lost while it idled."""
        try:
            return self._locked(read_sets, check)
        except DBAPIError as e:
            if not e.connection_invalidated or isinstance(e.orig, TimeoutError):
                raise
        return self._locked(read_sets, check)

    def _locked(
        self, read_sets: Sequence[ReadSet] | None, check: Callable[[Connection], None] | None
    ) -> Connection:
        connection = self.engine.connect()
        try:
            connection.begin()
            if check is not None:
                # Before anything is locked: whoever compares the lineage needs all of the ledger.
                check(connection)
            _lock(connection, read_sets)
        except BaseException:
            connection.close()
            raise
        return connection


def _lock(connection: Connection, read_sets: Sequence[ReadSet] | None) -> None:
    names = sorted({_number(name) for name in _names(read_sets or ())})
    if read_sets is None or len(names) > MOST_LOCKS:
        connection.exec_driver_sql(_LOCK_ALL, (LEDGER_NUMBER,))
    elif names:
        connection.exec_driver_sql(_LOCK_NAMES, (LEDGER_NUMBER, names))
    else:
        connection.exec_driver_sql(_SHARE, (LEDGER_NUMBER,))


def _names(read_sets: Sequence[ReadSet]) -> Iterator[bytes]:
    for need in read_sets:
        if need.command_id is not None:
            yield b"command " + need.command_id.encode()
        for key in (need.match_key, need.judges):
            if key is not None:
                yield b"destination " + destination_of(key)
        if need.locked_destination is not None:
            yield b"destination " + destination_key(need.locked_destination)
        for bucket in need.locked_buckets:
            yield b"bucket " + bucket.encode()


def _number(name: bytes) -> int:
    """Return the number that stands for a name; two names with one number only wait for each other."""
    return int.from_bytes(blake2b(b"sms-bridge " + name, digest_size=8).digest(), signed=True)


#: What stands for the ledger as a whole.
LEDGER_NUMBER = _number(b"ledger")
