"""Backfill from the provider's history, in an ingest and on the command line."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from bridge.adapters.clock import SystemClock
from bridge.adapters.cpaas.archive import CpaasArchive
from bridge.adapters.store import open_seen
from bridge.app import command_client, parts
from bridge.app.event_publisher import event_publisher
from bridge.app.ledger import require_ledger
from bridge.app.log import configure_log
from bridge.app.required import require
from bridge.domain.backfill import CatchUpRules
from bridge.jobs.backfill import CatchUp
from bridge.ports import ArchiveUnavailable, unwatched
from bridge.ports.http_results import NotificationResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.events import Event
    from bridge.jobs.backfill import Caught
    from bridge.ports import Clock, Progress
    from bridge.settings import Settings


def catch_up(
    settings: Settings,
    publish: Callable[[Event], NotificationResult],
    clock: Clock,
    stopping: threading.Event,
) -> CatchUp:
    """Return the job that reads the account's history and publishes missing messages."""
    rules = CatchUpRules(
        lookback=settings.catch_up.lookback,
        overlap=settings.catch_up.overlap,
        retention=settings.ledger.retention,
    )
    client = command_client.client(command_client.account(settings), settings, clock, stopping)
    return CatchUp(
        CpaasArchive(client.history),
        partial(open_seen, settings.ledger.url.get_secret_value()),
        publish,
        style=parts.style(settings),
        rules=rules,
        clock=clock,
    )


def run_catch_up(
    settings: Settings, *, since: float | None, dry_run: bool, progress: Progress = unwatched
) -> Caught:
    """Catch up once; see `bridge.jobs.backfill.CatchUp.run`.

    Raises:
        SettingsError: the account is not configured, or the broker where it is needed.
        ConnectionError: the broker or the provider is not reachable.
        LedgerUnavailable: the ledger does not exist or can't be read, so that missing messages can't be determined.

    """
    require(settings, broker=not dry_run, account=True)
    # On stderr: stdout has the output for programs.
    configure_log(settings)
    clock, stopping = SystemClock(), threading.Event()
    # A new ledger at a wrong path has no notifications: all messages would be published again.
    require_ledger(settings)
    try:
        if dry_run:
            return catch_up(settings, _nothing, clock, stopping).run(
                since=since, dry_run=True, progress=progress
            )
        with event_publisher(settings, "catch-up publishes", clock, stopping.set) as publish:

            def publish_one(event: Event) -> NotificationResult:
                publish([event])
                return NotificationResult.PUBLISHED

            return catch_up(settings, publish_one, clock, stopping).run(since=since, progress=progress)
    except ArchiveUnavailable as e:
        raise ConnectionError(str(e)) from e


def _nothing(_event: Event) -> NotificationResult:
    """Publish nothing: a dry run only counts."""
    return NotificationResult.REFUSED
