"""From settings to the parts of a webhook: its door, what takes notifications, what remembers and what keeps them."""

from __future__ import annotations

from functools import partial
from ipaddress import ip_network
from typing import TYPE_CHECKING
from urllib.parse import unquote

from bridge.adapters.http.ingest_app import Door, Webhook
from bridge.adapters.http.peers import Peers
from bridge.adapters.http.serving import Bind, HttpServer
from bridge.adapters.spool import open_spool
from bridge.adapters.store import open_seen
from bridge.app import parts
from bridge.app.files import webhook_connections
from bridge.domain.notification_events import receive
from bridge.ingest.ingest import Ingest
from bridge.ingest.receipt_owner import Owning
from bridge.ingest.seen_lookup import FIRST_PATIENCE, SeenKeeper
from bridge.ingest.seen_lookup import PATIENCE as LEDGER_PATIENCE
from bridge.ingest.spooler import PATIENCE, Bounds, Spooler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bridge.domain.evidence import Evidence
    from bridge.domain.receipts import SentSubmission
    from bridge.ingest.deduplication import Once
    from bridge.ingest.durability import Safekeeping
    from bridge.jobs.subscription_watch import SubscriptionWatch
    from bridge.ops.metrics import Metrics
    from bridge.ops.shutdown import Stopping
    from bridge.ops.tracing import WebhookTracing
    from bridge.ports import Clock, Publisher
    from bridge.settings import Settings

#: The part of a request's time that the ledger may take: the rest is the broker's.
LEDGER_SHARE = 0.8


def make_ingest(
    settings: Settings,
    safekeeping: Safekeeping,
    metrics: Metrics,
    clock: Clock,
    once: Once,
    *,
    sent: Callable[[str], Awaitable[SentSubmission | None]],
    sighted: Callable[[Evidence], None] | None = None,
    watch: SubscriptionWatch | None = None,
    traces: WebhookTracing | None = None,
) -> Ingest:
    """Return what takes notifications.

    `sent` says whose a message is; `sighted` is told which messages they show, `watch` that a subscription was
    cancelled.
    """
    style = parts.style(settings)
    read = partial(
        receive,
        source=style.source,
        camel_case=style.camel_case,
        default_region=settings.addresses.default_region,
        sighted=sighted,
    )
    return Ingest(
        safekeeping,
        receive=read if watch is None else watch.watching(read),
        clock=clock,
        metrics=metrics,
        once=once,
        confirm_timeout=settings.ingest.confirm_timeout,
        own=Owning(sent, style=style, clock=clock).own,
        traces=traces,
    )


def make_door(settings: Settings, flow: Ingest) -> HttpServer:
    """Return the server that the provider posts to."""
    ingest = settings.ingest
    door = Door(
        # Requests come with percent-encoding undone.
        path=unquote(ingest.path),
        authorization=tuple(secret.get_secret_value().encode() for secret in ingest.authorization),
        allow=tuple(map(ip_network, ingest.allow)),
        trusted_proxies=tuple(map(ip_network, ingest.trusted_proxies)),
        max_body=ingest.max_body,
        max_in_flight=ingest.max_in_flight,
    )
    bind = Bind(
        host=ingest.host,
        port=ingest.port,
        tls_certificate=ingest.tls_certificate,
        tls_key=ingest.tls_key,
        max_connections=webhook_connections(settings),
        keep_alive=ingest.keep_alive,
        peers=Peers(
            allow=door.allow,
            proxies=door.trusted_proxies,
            each=ingest.max_connections_each,
            turned_away=partial(flow.refused, 403),
        ),
    )
    return HttpServer(Webhook(door, flow.take, refused=flow.refused), bind, name="ingest")


def make_seen(settings: Settings, stopping: Stopping, metrics: Metrics, clock: Clock) -> SeenKeeper:
    """Return what remembers which notifications are events already."""
    longest = settings.ingest.confirm_timeout * LEDGER_SHARE
    return SeenKeeper(
        partial(open_seen, settings.ledger.url.get_secret_value()),
        metrics=metrics,
        clock=clock,
        on_crash=stopping.crash,
        patience=min(LEDGER_PATIENCE, longest),
        first_patience=min(FIRST_PATIENCE, longest),
    )


def make_spooler(
    settings: Settings, publisher: Publisher, stopping: Stopping, metrics: Metrics, clock: Clock
) -> Spooler | None:
    """Return what keeps events while the broker takes none, where there is a spool."""
    ingest = settings.ingest
    if ingest.spool is None:
        return None
    return Spooler(
        partial(open_spool, ingest.spool),
        publisher,
        tell=parts.teller(settings),
        bounds=Bounds(max_bytes=ingest.spool_max_bytes, max_age=ingest.spool_max_age),
        # The request must still be there when the spool has it.
        patience=min(PATIENCE, ingest.confirm_timeout / 2),
        clock=clock,
        metrics=metrics,
        on_crash=stopping.crash,
    )


def spooling(spooler: Spooler) -> tuple[str, bool, str]:
    """Return whether the spool keeps events, how many it has, and if it takes no more, why not."""
    contents, trouble = spooler.contents, spooler.trouble
    waiting = f"{contents.events} events wait in the spool, {contents.bytes} bytes"
    return "spool", trouble is None, waiting if trouble is None else f"{trouble.detail}; {waiting}"
