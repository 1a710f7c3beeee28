"""The ledger in PostgreSQL, for workers on any number of hosts.

A row can't be locked before it exists, and two first claims of one id must not both miss it. So a batch takes advisory
locks on names: of each command, each pair of destination and text, and each rate limit that it may change. One
statement takes them in the order of their numbers, so that no two batches deadlock. The locks end with the transaction,
after its changes are visible to others.
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

#: Seconds for a statement that reads or records notifications: a webhook waits for it.
SEEN_TIMEOUT = 1.0
#: The largest number of names locked one by one; a bigger batch locks the whole ledger. A server has some 6,400 locks.
MOST_LOCKS = 256

_LOCK_ALL = "SELECT pg_advisory_xact_lock(%s)"
#: Each batch shares the lock on the whole ledger, so that a process that needs all of it can lock it.
_SHARE = "SELECT pg_advisory_xact_lock_shared(%s)"
_LOCK_NAMES = (
    "SELECT pg_advisory_xact_lock_shared(%s), pg_advisory_xact_lock(name) FROM unnest(%s::bigint[]) AS name"
)
_TIME = "SELECT extract(epoch FROM clock_timestamp())"


def open_postgresql(
    parameters: Mapping[str, str], *, statement_timeout: float = STATEMENT_TIMEOUT
) -> SqlLedger:
    """Open the ledger in the database that libpq's `parameters` name; create missing tables.

    `statement_timeout` in seconds applies to statements and to locks.

    Raises:
        LedgerUnavailable: the database can't be reached, or its tables are not this bridge's.
        LedgerUnusable: its encoding can't hold every text, or the parameters can't be used.

    """
    ledger = SqlLedger(LedgerDatabase(parameters, statement_timeout))
    try:
        ledger.open()
    except BaseException:
        ledger.close()
        raise
    return ledger


def open_postgresql_seen(parameters: Mapping[str, str]) -> SqlSeen:
    """Open the store of seen notifications in the existing ledger that `parameters` name."""
    return SqlSeen(postgresql_engine(parameters, statement_timeout=SEEN_TIMEOUT, accepts_old_primary=False))


def open_postgresql_receipts(parameters: Mapping[str, str]) -> SqlReceipts:
    """Open the store of pending receipts in the existing ledger that `parameters` name."""
    return SqlReceipts(postgresql_engine(parameters, accepts_old_primary=False))


class LedgerDatabase:
    """A ledger's database, which other processes write to at the same time."""

    statements = POSTGRESQL

    def __init__(self, parameters: Mapping[str, str], statement_timeout: float) -> None:
        self.engine = postgresql_engine(parameters, statement_timeout=statement_timeout)

    @contextmanager
    def transaction(
        self, read_sets: Sequence[ReadSet] | None = (), check: Callable[[Connection], None] | None = None
    ) -> Iterator[Connection]:
        """Commit the block; see `bridge.adapters.store.ledger.Database`."""
        try:
            with self._begin(read_sets, check) as connection:
                yield connection
                connection.commit()
        except (SQLAlchemyError, OSError) as e:
            raise unavailable(e) from e

    def time(self, check: Callable[[Connection], None]) -> float:
        """Return the server's time."""
        with self.transaction((), check) as connection:
            return float(connection.exec_driver_sql(_TIME).scalar_one())

    def lineage_of(self, connection: Connection) -> Lineage | None:
        """Return the lineage of the server behind a connection; None if it is not known."""
        return lineage_of(connection)

    def _begin(
        self, read_sets: Sequence[ReadSet] | None, check: Callable[[Connection], None] | None
    ) -> Connection:
        """Return a connection that holds the locks; connect again if the first was lost while idle."""
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
                # Before anything is locked: the comparison of lineages locks the whole ledger.
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
    for read_set in read_sets:
        if read_set.command_id is not None:
            yield b"command " + read_set.command_id.encode()
        for key in (read_set.match_key, read_set.judged_key):
            if key is not None:
                yield b"destination " + destination_of(key)
        if read_set.locked_destination is not None:
            yield b"destination " + destination_key(read_set.locked_destination)
        for bucket in read_set.locked_buckets:
            yield b"bucket " + bucket.encode()


def _number(name: bytes) -> int:
    """Return the lock number of a name; two names with one number only wait for each other."""
    return int.from_bytes(blake2b(b"sms-bridge " + name, digest_size=8).digest(), signed=True)


#: The lock number of the whole ledger.
LEDGER_NUMBER = _number(b"ledger")
