"""A guard against old PostgreSQL primaries for processes that do not compare the ledger with the broker.

Workers compare the ledger (`bridge.adapters.store.lineages`). An ingest may lack the permission, and stores only
evidence in the ledger: so it refuses timelines older than the newest one that its process has seen.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.adapters.store.connection_timeout import TimedConnection
    from bridge.domain.lineage import Lineage

_lock = threading.Lock()
#: The highest timeline that a session of this process has reached, by system identifier.
_highest: dict[str, int] = {}


def note(lineage: Lineage | None) -> int | None:
    """Record a session's lineage; return the newer timeline if it is an old primary's."""
    if lineage is None:
        return None
    with _lock:
        highest = _highest[lineage.system] = max(lineage.timeline, _highest.get(lineage.system, 0))
    return highest if highest > lineage.timeline else None


class Newest:
    """Opens connections and refuses old primaries."""

    def __init__(self, opens: Callable[..., TimedConnection]) -> None:
        """Connect with `opens`, which takes libpq's parameters."""
        self._opens = opens
        self._log = structlog.get_logger()

    def connect(self, *args: Any, **kw: Any) -> TimedConnection:
        """Open a connection to the first host that is not an old primary.

        Raises:
            psycopg.OperationalError: no such host can be reached.

        """
        from psycopg import OperationalError

        while True:
            connection = self._opens(*args, **kw)
            newer, own = note(connection.lineage), connection.lineage
            if newer is None or own is None:
                return connection
            others = _without(kw, connection.info.host, connection.info.port)
            connection.close()
            said = (
                f"the database is an old primary: its timeline is {own.timeline}, and {newer} was seen before"
            )
            hint = "stop that server or make it a standby; after `bridge ledger adopt` on it restart this process"
            self._log.warning("ledger.old_primary", reason=said, hint=hint)
            if others is None:
                raise OperationalError(f"{said}; {hint}")
            kw = kw | others


def _without(kw: Mapping[str, Any], host: str, port: int) -> dict[str, str] | None:
    """Return libpq's parameters for the other hosts; None without another host."""
    hosts, ports = str(kw.get("host", "")).split(","), str(kw.get("port", "")).split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    others = [(h, p) for h, p in zip(hosts, ports, strict=True) if (h, int(p or 5432)) != (host, port)]
    if "hostaddr" in kw or len(others) in {0, len(hosts)}:
        return None
    return {"host": ",".join(h for h, _ in others), "port": ",".join(p for _, p in others)}
