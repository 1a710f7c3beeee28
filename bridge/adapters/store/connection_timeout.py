"""A PostgreSQL connection with a timeout on the client's side.

Imported only where the driver is installed.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.abc import PQGen

    from bridge.domain.lineage import Lineage

T = TypeVar("T")

#: Errors of the session rather than of the statement: a new session may reach a server without them. SQLSTATE classes
#: and codes (PostgreSQL documentation, appendix A): connections, shutdowns, internal errors, "cached plan must not
#: change result type", read-only, timeouts in a transaction, prepared statements that are lost or exist already.
_SESSION_ERRORS = ("08", "57P", "XX", "0A000", "25006", "25P03", "25P04", "26000", "42P05")


class StatementTimeout(psycopg.OperationalError, TimeoutError):
    """The server has not answered; the result of the statement is unknown."""


class TimedConnection(psycopg.Connection[Any]):
    """A connection that closes itself when the server is silent for `timeout` seconds or ended the session.

    The server's own timeouts do not work while the server is stalled. A closed connection leaves the pool.
    """

    timeout: float
    #: Behind a connection pooler, the statement that applies a transaction's settings; otherwise empty.
    transaction_settings: str = ""
    #: The lineage of the server behind the session, or behind the transaction with a pooler; None if unknown.
    lineage: Lineage | None = None

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait as psycopg does, with a timeout."""
        try:
            return super().wait(gen, interval, self.timeout if timeout is None else timeout)
        except psycopg.errors._WaitTimeout as e:  # noqa: SLF001 - nothing else separates it from the server's errors
            # An orderly close would wait for the server again.
            self.pgconn.finish()
            raise StatementTimeout(f"no answer within {self.timeout:g} s") from e
        except psycopg.Error as e:
            if e.sqlstate is not None and e.sqlstate.startswith(_SESSION_ERRORS):
                self.pgconn.finish()
            raise

    @contextmanager
    def in_transaction(self) -> Iterator[None]:
        """Run the statements of the block in one transaction with the settings.

        Raises:
            ReadOnlySqlTransaction: the pooler leads to a server that accepts no writes.

        """
        with self.transaction():
            read_only, *_ = self.execute(self.transaction_settings.encode()).fetchone() or ("on",)
            if read_only == "on":
                self.pgconn.finish()
                raise psycopg.errors.ReadOnlySqlTransaction(READ_ONLY)
            yield


#: The error for a read-only server behind a pooler.
READ_ONLY = "read-only: the pooler leads to a standby, or to a database with default_transaction_read_only"


def connection_class(timeout: float) -> type[TimedConnection]:
    """Return a connection class with this timeout in seconds."""
    return type("Connection", (TimedConnection,), {"timeout": timeout})
