"""Sessions with PostgreSQL: how they are opened, with which settings, and behind which pooler.

PostgreSQL names the process that serves a session; a connection pooler (pgbouncer and others) names a number of its
own. Where the number is not the server's, a pooler is between, and each transaction may get another session, which
other clients use before and after it. So nothing is prepared there, and the settings belong to the transaction.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event

from bridge.adapters.store.newest import Newest, note
from bridge.adapters.store.replication import Replication, replication_of
from bridge.domain.hosts import is_loopback
from bridge.domain.lineage import Lineage
from bridge.ports import LedgerUnavailable, LedgerUnusable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Error
    from sqlalchemy import Connection, Engine

    from bridge.adapters.store.connection_timeout import PatientConnection

#: Seconds that a connection to one host may take, a statement or a lock, and a worker that stands still within a
#: transaction before the server ends its session, so that others get the locks.
CONNECT_TIMEOUT = 5
STATEMENT_TIMEOUT = 5.0
IDLE_TIMEOUT = 5.0
#: Seconds more until a server that says nothing at all is given up: it stands still, or its host is gone.
GRACE = 2.0
#: What says which lineage a server has: its system identifier, and the timeline of its write-ahead log in hexadecimal
#: digits, which a name of its files begins with. Any role may ask (PostgreSQL 13 to 18). `pg_control_checkpoint` has a
#: timeline too, and after a promotion the old one until the next checkpoint. A standby has no position of its own.
LINEAGE = (
    "(SELECT system_identifier FROM pg_control_system()), "
    "CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END"
)
NO_LINEAGE = "NULL::bigint, NULL::text"
#: What a server answers that does not say it: the right was taken away, or the functions are missing or not supported
#: (PostgreSQL documentation, appendix A).
_NOT_SAID = frozenset({"42501", "42883", "0A000"})
#: Executions after which the driver has the server prepare a statement.
PREPARE_AFTER = 5


@dataclass(frozen=True, slots=True)
class DatabaseServer:
    """The server that a connection leads to."""

    version: str
    #: Whether a pooler of connections is between.
    is_pooled: bool
    is_encrypted: bool
    #: Whether the host that is connected to was verified; true for what does not leave the machine.
    is_verified: bool
    replication: Replication


def postgresql_engine(
    parameters: Mapping[str, str],
    *,
    statement_timeout: float = STATEMENT_TIMEOUT,
    takes_old: bool = True,
) -> Engine:
    """Return an engine whose connections give up rather than wait for ever.

    `parameters` are libpq's; `statement_timeout` is in seconds, for statements and for locks. `takes_old` says whether
    a session may lead to an old primary, which is then recognized elsewhere.

    Raises:
        LedgerUnusable: the driver is not installed, or can't do what the parameters ask.

    """
    try:
        from bridge.adapters.store.connection_timeout import connection_class
        from bridge.adapters.store.libpq import check_parameters
    except ImportError as e:
        raise LedgerUnusable(
            "a PostgreSQL ledger needs the driver psycopg: install the bridge with its extra postgresql "
            "(docs/install.md)"
        ) from e
    check_parameters(parameters)
    connects = connection_class(statement_timeout + GRACE)
    engine = create_engine(
        "postgresql+psycopg://",
        connect_args=_defaults() | dict(parameters),
        # Each statement must see what the holder of its locks has committed.
        isolation_level="READ COMMITTED",
        pool_size=1,
        max_overflow=2,
    )
    opens = _Opening(connects, _settings(statement_timeout)).connect
    if not takes_old:
        opens = Newest(opens).connect
    event.listen(engine, "do_connect", lambda _dialect, _record, args, kw: opens(*args, **kw))
    event.listen(engine, "begin", _begin)
    return engine


def _defaults() -> dict[str, str]:
    """Return the parameters that hold where the URL does not say otherwise."""
    return {
        "connect_timeout": str(CONNECT_TIMEOUT),
        "client_encoding": "utf8",
        "application_name": f"sms-bridge ledger {socket.gethostname()}:{os.getpid()}",
        # A host that is gone says nothing: the kernel finds out.
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        # Of several hosts the one that takes writes, and none that does not: a standby's session would be kept.
        "target_session_attrs": "read-write",
    }


def _settings(statement_timeout: float) -> Mapping[str, str]:
    """Return the promises that hold in every transaction, over the defaults of the server and the user."""
    milliseconds = str(round(statement_timeout * 1000))
    return {
        "statement_timeout": milliseconds,
        "lock_timeout": milliseconds,
        "idle_in_transaction_session_timeout": str(round(IDLE_TIMEOUT * 1000)),
        # A commit is on the disk when it returns: without that a claim could be lost with the power.
        "synchronous_commit": "on",
        # A plan that was kept from when the tables were empty reads the whole of them for each batch.
        "plan_cache_mode": "force_custom_plan",
    }


def _setting(settings: Mapping[str, str], lineage: str, *, local: bool) -> str:
    """Return the statement that sets them, for the transaction or the session.

    It says whether that is read-only, and last the two columns of `lineage`.
    """
    made = [f"set_config('{name}', '{value}', {local})" for name, value in settings.items()]
    return f"SELECT current_setting('transaction_read_only'), {', '.join(made)}, {lineage}"


class _Opening:
    """Opens connections that keep the settings."""

    def __init__(self, connects: type[PatientConnection], settings: Mapping[str, str]) -> None:
        self._connects = connects
        self._settings = settings
        #: The columns that say which lineage the server has.
        self._lineage = LINEAGE

    def connect(self, *args: Any, **kw: Any) -> PatientConnection:
        """Open one; of a server that refuses to say its lineage, one without.

        Raises:
            LedgerUnusable: the database can't hold every text, or a pooler does not do what is needed.
            psycopg.OperationalError: it can't be opened.

        """
        from psycopg import Error

        try:
            return self._open(*args, **kw)
        except Error as e:
            if e.sqlstate not in _NOT_SAID or self._lineage == NO_LINEAGE:
                raise
        self._lineage = NO_LINEAGE
        return self._open(*args, **kw)

    def _open(self, *args: Any, **kw: Any) -> PatientConnection:
        from psycopg import Error, OperationalError

        try:
            connection = self._connects.connect(*args, prepare_threshold=None, **kw)
        except OperationalError as e:
            _check_pooler(e)
            raise OperationalError(
                _every_host(str(e), "" if "hostaddr" in kw else str(kw.get("host", "")))
            ) from None
        try:
            self._set_up(connection)
        except BaseException as e:
            connection.close()
            if isinstance(e, Error):
                _check_pooler(e)
            raise
        return connection

    def _set_up(self, connection: PatientConnection) -> None:
        """Find out what is at the other end, and have it keep the settings."""
        polling = f"SELECT pg_backend_pid(), current_setting('server_encoding'), {self._lineage}"
        pid, encoding, *lineage = connection.execute(polling.encode()).fetchone() or (0, "", None, None)
        if encoding != "UTF8":
            raise LedgerUnusable(
                f"the ledger's database has the encoding {encoding}: make one with CREATE DATABASE ... ENCODING "
                "'UTF8' TEMPLATE template0"
            )
        connection.lineage = _lineage(*lineage)
        note(connection.lineage)
        if pid == connection.info.backend_pid:
            connection.execute(_setting(self._settings, NO_LINEAGE, local=False).encode())
            connection.prepare_threshold = PREPARE_AFTER
        else:
            connection.settles = _setting(self._settings, self._lineage, local=True)
        connection.commit()


def _lineage(system: int | None, timeline: str | None) -> Lineage | None:
    if system is None or timeline is None:
        return None
    return Lineage.of_postgresql(int(system), int(timeline, 16))


def _begin(connection: Connection) -> None:
    """Make a transaction's settings, where a session can't have them; it may have another server than the one before.

    Raises:
        LedgerUnavailable: the pooler leads to a server that takes no writes.

    """
    driver: Any = connection.connection.driver_connection
    if not driver.settles:
        return
    read_only, *_, system, timeline = connection.exec_driver_sql(driver.settles).one()
    driver.lineage = _lineage(system, timeline)
    if read_only == "on":
        from bridge.adapters.store.connection_timeout import READ_ONLY

        connection.invalidate()
        raise LedgerUnavailable(READ_ONLY)


def lineage_of(connection: Connection) -> Lineage | None:
    """Return the lineage of the server that a connection leads to; None where that is not known."""
    driver: Any = connection.connection.driver_connection
    lineage: Lineage | None = driver.lineage
    return lineage


def server_of(connection: Connection) -> DatabaseServer:
    """Return what a connection of `postgresql_engine` leads to."""
    driver: Any = connection.connection.driver_connection
    info = driver.info
    is_encrypted = bool(driver.pgconn.ssl_in_use)
    return DatabaseServer(
        version=str(connection.exec_driver_sql("SHOW server_version").scalar_one()),
        is_pooled=bool(driver.settles),
        is_encrypted=is_encrypted,
        is_verified=info.host.startswith("/")
        or is_loopback(info.hostaddr or info.host)
        or (is_encrypted and info.get_parameters().get("sslmode") == "verify-full"),
        replication=replication_of(connection),
    )


def _check_pooler(error: Error) -> None:
    """Tell apart a refusal of a pooler for good and an error that passes.

    Raises:
        LedgerUnusable: it does not go by.

    """
    said = str(error)
    if "statement pooling" in said:
        raise LedgerUnusable(
            "the pooler in ledger.url pools statements, and the ledger needs transactions: set its pool_mode to "
            "transaction or session"
        ) from None
    if "unsupported startup parameter" in said:
        raise LedgerUnusable(
            "the pooler in ledger.url refuses a parameter of the connection: remove options from ledger.url, or list "
            "it in the pooler's ignore_startup_parameters"
        ) from None


def _every_host(said: str, hosts: str) -> str:
    """Return what was wrong with each of libpq's list `hosts`, in one line, of what the driver says after the last."""
    first, *rest = said.splitlines() or ["the connection failed"]
    each = [line.removeprefix("- ") for line in rest if line.startswith("- host: ")] or [first]
    # The driver leaves out a host that has no address, unless none has one.
    named = hosts.split(",")
    unsaid = [host for host in named if f"'{host}'" not in said] if len(named) > 1 else []
    return "; ".join(
        [*(f"host '{host}' can't be resolved" for host in unsaid if not _is_resolved(host)), *each]
    )


def _is_resolved(host: str) -> bool:
    """Return whether a name has an address now; a socket's directory needs none."""
    if not host or host.startswith(("/", "@")):
        return True
    try:
        socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError):
        return False
    return True
