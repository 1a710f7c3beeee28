"""PostgreSQL sessions: connecting, settings, and detection of connection poolers.

PostgreSQL reports the process id that serves a session; a connection pooler (pgbouncer and others) reports a different
number. If the two differ, a pooler is in between, and each transaction may run in another session, which other clients
use before and after it. So no statement is prepared there, and the settings are applied in each transaction.
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

    from bridge.adapters.store.connection_timeout import TimedConnection

#: Seconds for connecting to one host; for a statement or a lock; and for a worker that stalls within a transaction
#: before the server ends its session, so that other workers get the locks.
CONNECT_TIMEOUT = 5
STATEMENT_TIMEOUT = 5.0
IDLE_TIMEOUT = 5.0
#: Further seconds until the client gives up a silent server: it is stalled, or its host is gone.
GRACE = 2.0
#: The query for a server's lineage: its system identifier, and the timeline of its write-ahead log, which the names of
#: the log's files begin with, in hexadecimal digits. Any role may ask (PostgreSQL 13 to 18). After a promotion
#: `pg_control_checkpoint` has the old timeline until the next checkpoint. A standby has no write position.
LINEAGE = (
    "(SELECT system_identifier FROM pg_control_system()), "
    "CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END"
)
NO_LINEAGE = "NULL::bigint, NULL::text"
#: SQLSTATE codes of a server that does not report its lineage: the permission was revoked, or the functions are missing
#: or not supported (PostgreSQL documentation, appendix A).
_NO_LINEAGE_STATES = frozenset({"42501", "42883", "0A000"})
#: Executions after which the driver prepares a statement on the server.
PREPARE_AFTER = 5


@dataclass(frozen=True, slots=True)
class DatabaseServer:
    """The server that a connection leads to."""

    version: str
    #: Whether a connection pooler is in between.
    is_pooled: bool
    is_encrypted: bool
    #: Whether the host's certificate was verified; true for a connection that does not leave the machine.
    is_verified: bool
    replication: Replication


def postgresql_engine(
    parameters: Mapping[str, str],
    *,
    statement_timeout: float = STATEMENT_TIMEOUT,
    accepts_old_primary: bool = True,
) -> Engine:
    """Return an engine whose connections have timeouts.

    `parameters` are libpq's. `statement_timeout` in seconds applies to statements and to locks. `accepts_old_primary`
    allows a session with an old primary, which the caller then detects.

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
    opens = _Connector(connects, _settings(statement_timeout)).connect
    if not accepts_old_primary:
        opens = Newest(opens).connect
    event.listen(engine, "do_connect", lambda _dialect, _record, args, kw: opens(*args, **kw))
    event.listen(engine, "begin", _begin)
    return engine


def _defaults() -> dict[str, str]:
    """Return the connection parameters that apply unless the URL sets them."""
    return {
        "connect_timeout": str(CONNECT_TIMEOUT),
        "client_encoding": "utf8",
        "application_name": f"sms-bridge ledger {socket.gethostname()}:{os.getpid()}",
        # Keepalives: a host that is gone sends nothing, and the kernel notices.
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        # Of several hosts, the one that accepts writes: a session with a standby would stay in the pool.
        "target_session_attrs": "read-write",
    }


def _settings(statement_timeout: float) -> Mapping[str, str]:
    """Return the settings of every transaction; they override those of the server and the user."""
    milliseconds = str(round(statement_timeout * 1000))
    return {
        "statement_timeout": milliseconds,
        "lock_timeout": milliseconds,
        "idle_in_transaction_session_timeout": str(round(IDLE_TIMEOUT * 1000)),
        # A commit is on the disk when it returns: otherwise a power failure could lose a claim.
        "synchronous_commit": "on",
        # A plan cached while the tables were empty scans the whole tables for each batch.
        "plan_cache_mode": "force_custom_plan",
    }


def _setting(settings: Mapping[str, str], lineage: str, *, local: bool) -> str:
    """Return the statement that applies the settings to the session, or, with `local`, to the transaction.

    Its columns: whether the transaction is read-only, the settings, and the two columns of `lineage`.
    """
    assignments = [f"set_config('{name}', '{value}', {local})" for name, value in settings.items()]
    return f"SELECT current_setting('transaction_read_only'), {', '.join(assignments)}, {lineage}"


class _Connector:
    """Opens connections with the settings applied."""

    def __init__(self, connects: type[TimedConnection], settings: Mapping[str, str]) -> None:
        self._connects = connects
        self._settings = settings
        #: The columns that report the server's lineage.
        self._lineage = LINEAGE

    def connect(self, *args: Any, **kw: Any) -> TimedConnection:
        """Open a connection; if the server refuses to report its lineage, without it.

        Raises:
            LedgerUnusable: the database's encoding can't hold every text, or the pooler's configuration does not fit.
            psycopg.OperationalError: the connection can't be opened.

        """
        from psycopg import Error

        try:
            return self._open(*args, **kw)
        except Error as e:
            if e.sqlstate not in _NO_LINEAGE_STATES or self._lineage == NO_LINEAGE:
                raise
        self._lineage = NO_LINEAGE
        return self._open(*args, **kw)

    def _open(self, *args: Any, **kw: Any) -> TimedConnection:
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

    def _set_up(self, connection: TimedConnection) -> None:
        """Check the encoding, detect a pooler, and apply the settings."""
        query = f"SELECT pg_backend_pid(), current_setting('server_encoding'), {self._lineage}"
        pid, encoding, *lineage = connection.execute(query.encode()).fetchone() or (0, "", None, None)
        if encoding != "UTF8":
            raise LedgerUnusable(
                f"the ledger's database has the encoding {encoding}: create one with CREATE DATABASE ... ENCODING "
                "'UTF8' TEMPLATE template0"
            )
        connection.lineage = _lineage(*lineage)
        note(connection.lineage)
        if pid == connection.info.backend_pid:
            connection.execute(_setting(self._settings, NO_LINEAGE, local=False).encode())
            connection.prepare_threshold = PREPARE_AFTER
        else:
            connection.transaction_settings = _setting(self._settings, self._lineage, local=True)
        connection.commit()


def _lineage(system: int | None, timeline: str | None) -> Lineage | None:
    if system is None or timeline is None:
        return None
    return Lineage.of_postgresql(int(system), int(timeline, 16))


def _begin(connection: Connection) -> None:
    """Apply a transaction's settings behind a pooler, where it may run on another server than the one before.

    Raises:
        LedgerUnavailable: the pooler leads to a server that accepts no writes.

    """
    driver: Any = connection.connection.driver_connection
    if not driver.transaction_settings:
        return
    read_only, *_, system, timeline = connection.exec_driver_sql(driver.transaction_settings).one()
    driver.lineage = _lineage(system, timeline)
    if read_only == "on":
        from bridge.adapters.store.connection_timeout import READ_ONLY

        connection.invalidate()
        raise LedgerUnavailable(READ_ONLY)


def lineage_of(connection: Connection) -> Lineage | None:
    """Return the lineage of the server behind a connection; None if it is not known."""
    driver: Any = connection.connection.driver_connection
    lineage: Lineage | None = driver.lineage
    return lineage


def server_of(connection: Connection) -> DatabaseServer:
    """Return the server behind a connection of `postgresql_engine`."""
    driver: Any = connection.connection.driver_connection
    info = driver.info
    is_encrypted = bool(driver.pgconn.ssl_in_use)
    return DatabaseServer(
        version=str(connection.exec_driver_sql("SHOW server_version").scalar_one()),
        is_pooled=bool(driver.transaction_settings),
        is_encrypted=is_encrypted,
        is_verified=info.host.startswith("/")
        or is_loopback(info.hostaddr or info.host)
        or (is_encrypted and info.get_parameters().get("sslmode") == "verify-full"),
        replication=replication_of(connection),
    )


def _check_pooler(error: Error) -> None:
    """Recognize a pooler's refusal that only a change of the configuration can end.

    Raises:
        LedgerUnusable: the error is such a refusal.

    """
    said = str(error)
    if "statement pooling" in said:
        raise LedgerUnusable(
            "the pooler in ledger.url pools statements, and the ledger needs transactions: set the pooler's pool_mode "
            "to transaction or session"
        ) from None
    if "unsupported startup parameter" in said:
        raise LedgerUnusable(
            "the pooler in ledger.url refuses a connection parameter: remove options from ledger.url, or add the "
            "parameter to the pooler's ignore_startup_parameters"
        ) from None


def _every_host(said: str, hosts: str) -> str:
    """Return one line with the error of each of libpq's `hosts`, from the driver's text about the last attempt."""
    first, *rest = said.splitlines() or ["the connection failed"]
    each = [line.removeprefix("- ") for line in rest if line.startswith("- host: ")] or [first]
    # The driver omits a host that can't be resolved, unless none can.
    named = hosts.split(",")
    unnamed = [host for host in named if f"'{host}'" not in said] if len(named) > 1 else []
    return "; ".join(
        [*(f"host '{host}' can't be resolved" for host in unnamed if not _is_resolved(host)), *each]
    )


def _is_resolved(host: str) -> bool:
    """Return whether a name can be resolved now; a socket directory needs no resolving."""
    if not host or host.startswith(("/", "@")):
        return True
    try:
        socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError):
        return False
    return True
