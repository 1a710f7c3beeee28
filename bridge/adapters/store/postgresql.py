"""PostgreSQL as the ledger's database: for workers on any number of hosts.

Rows can't be locked before they exist, and two first claims of one id must not both see none. So what is locked is not
rows but names, as advisory locks: of every command, every pair and text, and every rate limit that a batch may change.
They are taken in one statement, in the order of their numbers, so that no two batches wait for each other; they end
with the transaction, after it is visible to others.
"""

from __future__ import annotations

import os
import socket
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from sqlalchemy import ARRAY, BigInteger, bindparam, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError

from bridge.adapters.store.receipts import SqlReceipts
from bridge.adapters.store.seen import SqlSeen
from bridge.adapters.store.sql import SqlLedger
from bridge.ports import LedgerUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg import Connection as PsycopgConnection
    from sqlalchemy import Connection, Engine

    from bridge.core.ledger import Needs

DRIVER = "postgresql+psycopg"
#: Seconds that a connection may take, a statement, a lock that another holds, and a worker that stands still within a
#: transaction before the server ends its session, so that others get the locks.
CONNECT_TIMEOUT = 5
STATEMENT_TIMEOUT = 5.0
IDLE_TIMEOUT = 15.0
#: The first for whoever looks up and notes notifications: what waits for it is a webhook.
SEEN_TIMEOUT = 1.0
#: Seconds more until a server that says nothing at all is given up: it stands still, or its host is gone.
GRACE = 2.0
#: Names that a batch locks one by one; a bigger one takes the whole ledger. A server has room for some 6,400 locks.
MOST_LOCKS = 256

_LEDGER = bindparam("ledger", type_=BigInteger)
_LOCK_ALL = text("SELECT pg_advisory_xact_lock(:ledger)").bindparams(_LEDGER)
#: Everybody shares the lock on the whole ledger, so that one who needs all of it can have it.
_SHARE = text("SELECT pg_advisory_xact_lock_shared(:ledger)").bindparams(_LEDGER)
_LOCK_NAMES = text(
    "SELECT pg_advisory_xact_lock_shared(:ledger), pg_advisory_xact_lock(name) FROM unnest(:names) AS name"
).bindparams(_LEDGER, bindparam("names", type_=ARRAY(BigInteger)))


def open_postgresql(url: str, *, statement_timeout: float = STATEMENT_TIMEOUT) -> SqlLedger:
    """Open the ledger in the database that `url` names; creates what is missing.

    `statement_timeout` is in seconds, for statements and for locks.

    Raises:
        LedgerUnavailable: the database can't be reached, or its tables are not ours.
        LedgerUnusable: it can't hold every text.

    """
    ledger = SqlLedger(postgresql_engine(url, statement_timeout=statement_timeout), _lock)
    try:
        ledger.open()
    except BaseException:
        ledger.close()
        raise
    return ledger


def open_postgresql_seen(url: str) -> SqlSeen:
    """Open the memory of notifications in the ledger that `url` names, which is there."""
    return SqlSeen(postgresql_engine(url, statement_timeout=SEEN_TIMEOUT))


def open_postgresql_receipts(url: str) -> SqlReceipts:
    """Open what is known of awaited receipts in the ledger that `url` names, which is there."""
    return SqlReceipts(postgresql_engine(url))


def postgresql_engine(url: str, *, statement_timeout: float = STATEMENT_TIMEOUT) -> Engine:
    """Return an engine whose connections give up rather than wait for ever.

    Raises:
        LedgerUnusable: the driver is not installed, or `url` can't be read.

    """
    try:
        from bridge.adapters.store.patience import connection_class
    except ImportError as e:
        raise LedgerUnusable(
            "a PostgreSQL ledger needs the driver psycopg: install the bridge with its extra postgresql "
            "(docs/operations.md)"
        ) from e
    connects = connection_class(statement_timeout + GRACE)
    try:
        engine = create_engine(
            make_url(url).set(drivername=DRIVER),
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT,
                "client_encoding": "utf8",
                "application_name": f"sms-bridge ledger {socket.gethostname()}:{os.getpid()}",
                # A host that is gone says nothing: the kernel finds out.
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
            },
            # Each statement must see what the holder of its locks has committed.
            isolation_level="READ COMMITTED",
            pool_size=1,
            max_overflow=2,
        )
    except (ArgumentError, ValueError):
        # Its text quotes the URL, and with it the password.
        raise LedgerUnusable("ledger.url is not a URL that PostgreSQL's driver can read") from None
    event.listen(engine, "do_connect", lambda _dialect, _record, args, kw: connects.connect(*args, **kw))
    event.listen(engine, "connect", lambda connection, _record: _set_up(connection, statement_timeout))
    return engine


def _set_up(connection: PsycopgConnection[Any], statement_timeout: float) -> None:
    """Make a session's promises its own, whatever the server's or the user's defaults are.

    Raises:
        LedgerUnusable: the database can't hold every text.

    """
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        connection.close()
        raise LedgerUnusable(
            f"the ledger's database has the encoding {encoding}: make one with CREATE DATABASE ... ENCODING 'UTF8' "
            "TEMPLATE template0"
        )
    milliseconds = round(statement_timeout * 1000)
    for name, value in (
        ("statement_timeout", milliseconds),
        ("lock_timeout", milliseconds),
        ("idle_in_transaction_session_timeout", round(IDLE_TIMEOUT * 1000)),
        # A commit is on the disk when it returns: without that a claim could be lost with the power.
        ("synchronous_commit", "on"),
        # A plan that was kept from when the tables were empty reads the whole of them for each batch.
        ("plan_cache_mode", "force_custom_plan"),
    ):
        connection.execute("SELECT set_config(%s, %s, false)", (name, str(value)))
    connection.commit()


def _lock(connection: Connection, needs: Sequence[Needs] | None) -> None:
    names = sorted({_number(name) for name in _names(needs or ())})
    if needs is None or len(names) > MOST_LOCKS:
        connection.execute(_LOCK_ALL, {"ledger": LEDGER_NUMBER})
    elif names:
        connection.execute(_LOCK_NAMES, {"ledger": LEDGER_NUMBER, "names": names})
    else:
        connection.execute(_SHARE, {"ledger": LEDGER_NUMBER})


def _names(needs: Sequence[Needs]) -> Iterator[bytes]:
    for need in needs:
        if need.command_id is not None:
            yield b"command " + need.command_id.encode()
        for key in (need.match_key, need.guards):
            if key is not None:
                yield b"key " + key
        for bucket in need.reserves:
            yield b"bucket " + bucket.encode()


def _number(name: bytes) -> int:
    """Return the number that stands for a name; two names with one number only wait for each other."""
    return int.from_bytes(blake2b(b"sms-bridge " + name, digest_size=8).digest(), signed=True)


#: What stands for the ledger as a whole.
LEDGER_NUMBER = _number(b"ledger")
