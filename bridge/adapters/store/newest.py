"""Keeps a process from an old PostgreSQL primary once it has seen a newer one, where nothing compares the ledger.

Workers compare the ledger with the broker (`bridge.adapters.store.lineages`). An ingest may have no right to, and what
it keeps with the ledger is only evidence: so it goes by what its own process has seen.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.adapters.store.connection_timeout import PatientConnection
    from bridge.domain.lineage import Lineage

_lock = threading.Lock()
#: The highest timeline of each system that a session of this process has led to.
_highest: dict[str, int] = {}


def note(lineage: Lineage | None) -> int | None:
    """Note where a session leads to; return the timeline that makes it an old primary's, if it is one."""
    if lineage is None:
        return None
    with _lock:
        highest = _highest[lineage.system] = max(lineage.timeline, _highest.get(lineage.system, 0))
    return highest if highest > lineage.timeline else None


class Newest:
    """Opens connections, to an old primary none."""

    def __init__(self, opens: Callable[..., PatientConnection]) -> None:
        """Connect by `opens`, which takes libpq's parameters."""
        self._opens = opens
        self._log = structlog.get_logger()

    def connect(self, *args: Any, **kw: Any) -> PatientConnection:
        """Open one with the first host that is no old primary.

        Raises:
            psycopg.OperationalError: there is none.

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
