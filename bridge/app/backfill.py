"""Catching up with the provider's history: in an ingest, and on the command line."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from bridge.adapters.amqp.publisher import AmqpPublisher
from bridge.adapters.amqp.short_connection import connected
from bridge.adapters.clock import SystemClock
from bridge.adapters.cpaas.archive import CpaasArchive
from bridge.adapters.store import open_seen
from bridge.app import parts, sending
from bridge.app.ledger import require_ledger
from bridge.app.log import configure_log
from bridge.app.required import require
from bridge.domain.backfill import CatchUpRules
from bridge.jobs.backfill import CatchUp
from bridge.ports import ArchiveUnavailable, unwatched
from bridge.ports.serving import NotificationResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.events import Event
    from bridge.jobs.backfill import Caught
    from bridge.ports import Clock, Progress, Publisher
    from bridge.settings import Settings

#: Seconds that the broker may take to be there and to confirm an event.
PATIENCE = 20.0


def catch_up(
    settings: Settings,
    publish: Callable[[Event], NotificationResult],
    clock: Clock,
    stopping: threading.Event,
) -> CatchUp:
    """Return what reads the account's history and has what is missing published."""
    rules = CatchUpRules(
        lookback=settings.catch_up.lookback,
        overlap=settings.catch_up.overlap,
        retention=settings.ledger.retention,
    )
    client = sending.client(sending.account(settings), settings, clock, stopping)
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
        LedgerUnavailable: there is none, or it can't be read: nobody can tell what is missing.

    """
    require(settings, broker=not dry_run, account=True)
    # On stderr: on stdout stands what a program reads.
    configure_log(settings)
    clock, stopping = SystemClock(), threading.Event()
    # A new one, at a path that is not the ingest's, knows no notification, and all would be events.
    require_ledger(settings)
    try:
        if dry_run:
            return catch_up(settings, _nothing, clock, stopping).run(
                since=since, dry_run=True, progress=progress
            )
        publisher = AmqpPublisher(
            parts.link(parts.broker_address(settings), "catch-up publishes", clock, stopping.set),
            parts.topology(settings),
            declares=settings.broker.declare,
            deadline=settings.broker.publish_deadline,
        )
        # A publisher waits for a broker. Whoever waits for a command is told at once.
        with connected(parts.broker_address(settings)):
            publisher.start()
        try:
            publish = partial(_publish, settings, publisher)
            return catch_up(settings, publish, clock, stopping).run(since=since, progress=progress)
        finally:
            publisher.stop()
    except ArchiveUnavailable as e:
        raise ConnectionError(str(e)) from e


def _publish(settings: Settings, publisher: Publisher, event: Event) -> NotificationResult:
    """Publish an event and wait until the broker has it."""
    confirmed = threading.Event()
    publisher.publish(parts.teller(settings)(event), confirmed.set)
    if not confirmed.wait(PATIENCE):
        raise ConnectionError("the broker did not confirm an event")
    return NotificationResult.PUBLISHED


def _nothing(_event: Event) -> NotificationResult:
    """Publish nothing: a dry run only counts."""
    return NotificationResult.REFUSED
