"""A PostgreSQL connection that does not wait for ever, and is not kept once it is of no more use.

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

#: Errors that belong to the session, not to the statement: a new session may have another server, which has none of
#: them. Classes and codes of PostgreSQL's documentation, appendix A: connections, shutdowns, internal errors; "cached
#: plan must not change result type", read-only, timeouts in a transaction, prepared statements lost or there already.
_OVER = ("08", "57P", "XX", "0A000", "25006", "25P03", "25P04", "26000", "42P05")


class Silence(psycopg.OperationalError, TimeoutError):
    """The server has not answered; nobody knows what became of the statement."""


class PatientConnection(psycopg.Connection[Any]):
    """A connection that ends itself when the server has not answered for `timeout` seconds, or ended the session.

    The server's own timeouts are no help against a server that stands still. A closed connection leaves the pool.
    """

    timeout: float
    #: Behind a connection pooler, the statement that makes a transaction's settings; empty where the session has them.
    settles: str = ""
    #: The lineage of the server that the session, or behind a pooler the transaction, leads to, as far as known.
    lineage: Lineage | None = None

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait as psycopg does, but not for ever."""
        try:
            return super().wait(gen, interval, self.timeout if timeout is None else timeout)
        except psycopg.errors._WaitTimeout as e:  # noqa: SLF001 - nothing else tells it from the server's errors
            # Not closed in order: that would wait for the server again.
            self.pgconn.finish()
            raise Silence(f"no answer within {self.timeout:g} s") from e
        except psycopg.Error as e:
            if e.sqlstate is not None and e.sqlstate.startswith(_OVER):
                self.pgconn.finish()
            raise

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Give the statements of the block one transaction, with its settings.

        Raises:
            ReadOnlySqlTransaction: the pooler leads to a server that takes no writes.

        """
        with self.transaction():
            read_only, *_ = self.execute(self.settles.encode()).fetchone() or ("on",)
            if read_only == "on":
                self.pgconn.finish()
                raise psycopg.errors.ReadOnlySqlTransaction(READ_ONLY)
            yield


#: Said of a server that a pooler leads to.
READ_ONLY = "read-only: the pooler leads to a standby, or to a database with default_transaction_read_only"


def connection_class(timeout: float) -> type[PatientConnection]:
    """Return connections of that patience, in seconds."""
    return type("Connection", (PatientConnection,), {"timeout": timeout})
