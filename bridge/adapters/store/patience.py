"""A PostgreSQL connection that does not wait for ever. Imported only where the driver is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import psycopg

if TYPE_CHECKING:
    from psycopg.abc import PQGen

T = TypeVar("T")


class Silence(psycopg.OperationalError, TimeoutError):
    """The server has not answered; nobody knows what became of the statement."""


def connection_class(patience: float) -> type[psycopg.Connection[Any]]:
    """Return connections that end themselves when the server has not answered for `patience` seconds.

    The server's own timeouts are no help against a server that stands still.
    """

    class PatientConnection(psycopg.Connection[Any]):
        def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
            try:
                return super().wait(gen, interval, patience if timeout is None else timeout)
            except psycopg.errors._WaitTimeout as e:  # noqa: SLF001 - nothing else tells it from the server's errors
                # Not closed in order: that would wait for the server again.
                self.pgconn.finish()
                raise Silence(f"no answer within {patience:g} s") from e

    return PatientConnection
