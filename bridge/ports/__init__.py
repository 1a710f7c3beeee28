"""The ports: protocols that the worker, the ingest and the jobs use. Adapters and the tests' fakes implement them."""

from __future__ import annotations

from bridge.ports.archive import (
    Archive,
    ArchiveUnavailable,
    Statuses,
)
from bridge.ports.broker import (
    CommandSource,
    Depth,
    OneShotPublisher,
    OneShotResult,
    Publisher,
    PublisherFull,
)
from bridge.ports.ledger import (
    ChangeRefused,
    Ledger,
    LedgerUnavailable,
    LedgerUnusable,
    Receipts,
    Seen,
    Watermarks,
)
from bridge.ports.observers import (
    Clock,
    Kind,
    Progress,
    Span,
    Tracer,
    Value,
    unwatched,
)
from bridge.ports.provider import (
    Channels,
    Gateway,
    Notifying,
    Subscriptions,
)
from bridge.ports.spool import (
    SPOOL_OVERHEAD,
    Spool,
    SpoolContents,
    Spooled,
    SpoolUnavailable,
)

__all__ = [
    "SPOOL_OVERHEAD",
    "Archive",
    "ArchiveUnavailable",
    "ChangeRefused",
    "Channels",
    "Clock",
    "CommandSource",
    "Depth",
    "Gateway",
    "Kind",
    "Ledger",
    "LedgerUnavailable",
    "LedgerUnusable",
    "Notifying",
    "OneShotPublisher",
    "OneShotResult",
    "Progress",
    "Publisher",
    "PublisherFull",
    "Receipts",
    "Seen",
    "Span",
    "Spool",
    "SpoolContents",
    "SpoolUnavailable",
    "Spooled",
    "Statuses",
    "Subscriptions",
    "Tracer",
    "Value",
    "Watermarks",
    "unwatched",
]
