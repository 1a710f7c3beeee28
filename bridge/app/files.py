"""Open files of an ingest, most of them connections, and the system's limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from bridge.adapters.files import raise_limit
from bridge.adapters.http.server.registry import ANSWERED_BEYOND

if TYPE_CHECKING:
    from bridge.settings import Settings

#: Maximum number of connections to the admin port.
ADMIN_CONNECTIONS = 100
#: Files other than the servers' connections: the ledger, the spool, the broker's connections, the log.
_OTHERS = 150
#: Minimum number of connections to the webhook.
_LEAST = 10


def files_needed(settings: Settings) -> int:
    """Return how many files an ingest has open with all connections that its settings allow."""
    return settings.ingest.max_connections + _beside_webhooks(settings)


def webhook_connections(settings: Settings) -> int:
    """Raise the limit of open files as needed, and return how many connections the webhook may have.

    If the limit is too low, that is less than `ingest.max_connections`, so that files remain for broker and ledger.
    """
    needed = files_needed(settings)
    limit = raise_limit(needed)
    if limit >= needed:
        return settings.ingest.max_connections
    capacity = max(_LEAST, limit - _beside_webhooks(settings))
    structlog.get_logger().warning(
        "files.too_few",
        limit=limit,
        needed=needed,
        connections=capacity,
        hint="raise the limit of open files (LimitNOFILE, ulimit -n), or lower ingest.max_connections",
    )
    return capacity


def _beside_webhooks(settings: Settings) -> int:
    submit = 0 if settings.submit.port is None else settings.submit.max_connections + ANSWERED_BEYOND
    return submit + ADMIN_CONNECTIONS + 2 * ANSWERED_BEYOND + _OTHERS
