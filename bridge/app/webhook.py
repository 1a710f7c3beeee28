"""Factory of a webhook's parts: its server, the executor of notifications, their deduplication and the spool."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_network
from typing import TYPE_CHECKING
from urllib.parse import unquote

from bridge.adapters.http.ingest_app import EndpointSettings, Webhook
from bridge.adapters.http.server.options import ServerOptions
from bridge.adapters.http.server.peers import Peers
from bridge.adapters.http.server.server import HttpServer
from bridge.adapters.spool import open_spool
from bridge.adapters.store import open_seen
from bridge.app import parts
from bridge.app.files import webhook_connections
from bridge.ingest.execution import NotificationSettings
from bridge.ingest.executor import NotificationExecutor
from bridge.ingest.memory import MemoryLimits, NotificationMemory
from bridge.ingest.notification import NotificationRules
from bridge.ingest.spool_status import Bounds, SpoolStatus
from bridge.ingest.spooler import TIMEOUT, Spooler

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.evidence import Evidence
    from bridge.ingest.durable_publisher import DurablePublisher, Publishing
    from bridge.ingest.report import NotificationReport
    from bridge.jobs.subscription_reconciler import SubscriptionReconciler
    from bridge.ops.metrics import Metrics
    from bridge.ops.shutdown import Stopping
    from bridge.ops.spans import WebhookTracing
    from bridge.ports import Clock
    from bridge.settings import Settings

#: The share of a request's time that the ledger may take; the rest is left for the broker.
LEDGER_SHARE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Observers:
    """Observers of notifications."""

    #: Called with the evidence of a message that a notification shows.
    evidence: Callable[[Evidence], None] | None = None
    #: Checks the subscriptions once one was cancelled.
    watch: SubscriptionReconciler | None = None
    traces: WebhookTracing | None = None


def make_ingest(
    settings: Settings,
    memory: NotificationMemory,
    durable_publisher: DurablePublisher,
    report: NotificationReport,
    clock: Clock,
    observers: Observers,
) -> NotificationExecutor:
    """Return the executor of notifications."""
    rules = NotificationRules(style=parts.style(settings), default_region=settings.addresses.default_region)
    notifications = NotificationSettings(
        rules=rules,
        confirm_timeout=settings.ingest.confirm_timeout,
        on_evidence=observers.evidence,
        on_cancelled=None if observers.watch is None else observers.watch.cancelled,
        traces=observers.traces,
    )
    return NotificationExecutor(notifications, memory, durable_publisher, report=report, clock=clock)


def make_webhook_server(
    settings: Settings, executor: NotificationExecutor, report: NotificationReport
) -> HttpServer:
    """Return the server that the provider posts to."""
    ingest = settings.ingest
    endpoint = EndpointSettings(
        # The parser has decoded the percent-encoding of requests.
        path=unquote(ingest.path),
        authorization=tuple(secret.get_secret_value().encode() for secret in ingest.authorization),
        allow=tuple(map(ip_network, ingest.allow)),
        trusted_proxies=tuple(map(ip_network, ingest.trusted_proxies)),
        max_body=ingest.max_body,
        max_in_flight=ingest.max_in_flight,
    )
    options = ServerOptions(
        host=ingest.host,
        port=ingest.port,
        tls_certificate=ingest.tls_certificate,
        tls_key=ingest.tls_key,
        max_connections=webhook_connections(settings),
        keep_alive=ingest.keep_alive,
        peers=Peers(
            allow=endpoint.allow,
            proxies=endpoint.trusted_proxies,
            each=ingest.max_connections_each,
            refused=partial(report.refused, 403),
        ),
    )
    return HttpServer(Webhook(endpoint, executor.take, refused=report.refused), options, name="ingest")


def make_memory(settings: Settings, stopping: Stopping, clock: Clock) -> NotificationMemory:
    """Return the deduplication of notifications."""
    longest = settings.ingest.confirm_timeout * LEDGER_SHARE
    usual = MemoryLimits()
    return NotificationMemory(
        partial(open_seen, settings.ledger.url.get_secret_value()),
        clock=clock,
        on_crash=stopping.crash,
        limits=replace(
            usual,
            timeout=min(usual.timeout, longest),
            first_timeout=min(usual.first_timeout, longest),
        ),
    )


def make_spooler(
    settings: Settings, publishing: Publishing, stopping: Stopping, metrics: Metrics
) -> Spooler | None:
    """Return the spooler, which stores events while the broker is unavailable; None without a spool."""
    ingest = settings.ingest
    if ingest.spool is None:
        return None
    bounds = Bounds(max_bytes=ingest.spool_max_bytes, max_age=ingest.spool_max_age)
    return Spooler(
        partial(open_spool, ingest.spool),
        publishing,
        SpoolStatus(bounds, clock=publishing.clock, metrics=metrics),
        # The request must still wait when the spool has stored the event.
        timeout=min(TIMEOUT, ingest.confirm_timeout / 2),
        on_crash=stopping.crash,
    )


def spooling(spooler: Spooler) -> tuple[str, bool, str]:
    """Return whether the spool accepts events, with its size and the reason if it does not."""
    contents, problem = spooler.status.contents, spooler.status.problem
    waiting = f"{contents.events} events wait in the spool, {contents.bytes} bytes"
    return "spool", problem is None, waiting if problem is None else f"{problem.detail}; {waiting}"
