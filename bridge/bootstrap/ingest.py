"""An ingest's process."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from ipaddress import ip_network
from typing import TYPE_CHECKING

import structlog

from bridge.adapters.amqp.publisher import AmqpPublisher
from bridge.adapters.clock import SystemClock
from bridge.adapters.http.ingest_app import Door, Webhook
from bridge.adapters.http.serving import Bind, HttpServer
from bridge.adapters.spool import open_spool
from bridge.adapters.store import open_ledger, open_seen
from bridge.bootstrap import parts
from bridge.bootstrap.admin import make_metrics, make_progress, publishing, readiness, serve_admin
from bridge.bootstrap.listening import listen
from bridge.bootstrap.required import require
from bridge.bootstrap.submit import SubmitPart
from bridge.bootstrap.subscribing import make_watch
from bridge.bootstrap.tracing import make_tracer, webhook_tracing
from bridge.flows.notify import receive
from bridge.runtime import logs
from bridge.runtime.catching_up import CatchingUp
from bridge.runtime.evidence import EvidenceWriter
from bridge.runtime.ingest import Ingest
from bridge.runtime.once import Fate, Once
from bridge.runtime.one_core import OneCore
from bridge.runtime.owning import Owning
from bridge.runtime.pruning import Pruner
from bridge.runtime.safekeeping import Safekeeping
from bridge.runtime.seen import FIRST_PATIENCE, SeenKeeper
from bridge.runtime.seen import PATIENCE as LEDGER_PATIENCE
from bridge.runtime.spooler import PATIENCE, Bounds, Spooler
from bridge.runtime.stopping import Stopping

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bridge.adapters.http.admin_app import Readiness
    from bridge.core.events import Event
    from bridge.core.receipts import Sent
    from bridge.core.reconcile import Evidence
    from bridge.ports import Clock, Tracer
    from bridge.runtime.metrics import Metrics
    from bridge.runtime.tracing import WebhookTracing
    from bridge.runtime.watching import SubscriptionWatch
    from bridge.settings import Settings

#: Notifications that wait for the broker's confirm; more are refused, to come again.
PUBLISH_LIMIT = 5_000
#: The part of a request's time that the ledger may take: the rest is the broker's.
LEDGER_SHARE = 0.8
#: Seconds that requests have to end in when the process does.
GRACE = 5.0
#: Seconds in which the event loop comes round.
TURN = 1.0
#: Seconds that one recovered message may take to become durable.
RECOVERY = 60.0


class IngestProcess:
    """An ingest with its connection and its door, and the door for commands where that has a port."""

    def __init__(
        self,
        settings: Settings,
        stopping: Stopping,
        metrics: Metrics,
        clock: Clock,
        tracer: Tracer | None = None,
    ) -> None:
        self._settings = settings
        self._stopping = stopping
        self._metrics = metrics
        self._clock = clock
        self._publisher = AmqpPublisher(
            parts.broker_address(settings),
            topology=parts.topology(settings),
            clock=clock,
            name=parts.name_of_process("ingest publishes"),
            declares=settings.broker.declare,
            deadline=settings.broker.publish_deadline,
            limit=PUBLISH_LIMIT,
            unrouted=metrics.unrouted.inc,
            on_crash=stopping.crash,
        )
        self._progress = make_progress(clock)
        metrics.connections.append(lambda: self._publisher.connected)
        metrics.alarms.append(lambda: self._publisher.blocked)
        url = settings.ledger.url.get_secret_value()
        self._evidence = EvidenceWriter(partial(open_ledger, url), metrics=metrics, clock=clock)
        self._seen = self._make_seen(url)
        # Here and not in the worker: an ingest may have a ledger of its own.
        self._pruner = Pruner(partial(_prune, url), settings.ledger.retention, clock, what="notifications")
        self._watch = make_watch(settings, metrics, clock)
        self._spooler = self._make_spooler()
        once = Once(self._seen, limit=PUBLISH_LIMIT)
        self._flow = make_ingest(
            settings,
            Safekeeping(self._publisher, tell=parts.teller(settings), spooler=self._spooler),
            metrics,
            clock,
            once,
            sent=self._seen.sent,
            sighted=self._evidence.offer,
            watch=self._watch,
            traces=webhook_tracing(settings, tracer),
        )
        self._door = make_door(settings, self._flow)
        self._submit = (
            None if settings.submit.port is None else SubmitPart(settings, stopping, metrics, clock, tracer)
        )
        self._listening = False
        self._catching_up = self._make_catching_up() if settings.catch_up.configured else None

    def start(self) -> None:
        """Listen; the broker may come when it likes.

        Raises:
            CannotListen: the port can't be had.
            SettingsError: the certificate can't be used.

        """
        ingest = self._settings.ingest
        port = listen(self._door, ingest, "ingest")
        self._listening = True
        if self._submit is not None:
            self._submit.start(self._progress)
        if self._spooler is not None:
            self._spooler.start()
        self._publisher.start()
        self._progress.watch("the link that publishes", lambda: self._publisher.rounds)
        self._evidence.start()
        self._seen.start()
        self._pruner.start()
        if self._catching_up is not None:
            self._catching_up.start()
        if self._watch is not None:
            self._watch.start()
        log = structlog.get_logger()
        log.info("ingest.listening", host=ingest.host, port=port, path=ingest.path)
        if not ingest.authorization:
            log.warning(
                "ingest.unguarded",
                hint="who reaches the port is taken for the provider: set ingest.authorization",
            )

    def stop(self) -> None:
        """Take no more requests, answer those that are in, and let go of the broker and the spool.

        The spool after the broker: it has to forget what that confirms to the end.
        """
        if self._watch is not None:
            self._watch.stop()
        self._door.stop(GRACE)
        if self._submit is not None:
            self._submit.stop(GRACE)
        if self._catching_up is not None:
            self._catching_up.stop()
        self._publisher.stop()
        if self._spooler is not None:
            self._spooler.stop()
        self._evidence.stop()
        self._seen.stop()
        self._pruner.stop()
        structlog.get_logger().info("ingest.stopped")

    def _make_catching_up(self) -> CatchingUp:
        """Return what reads the history; what it finds takes the way of what comes in by the door."""

        def publish(event: Event) -> Fate:
            try:
                return self._door.call(partial(self._flow.recover, event), RECOVERY)
            except TimeoutError:
                return Fate.REFUSED

        # Not at the top: an ingest that does not catch up needs no client of the provider.
        from bridge.bootstrap.catch_up import catch_up

        settings = self._settings.catch_up
        round_ = catch_up(self._settings, publish, self._clock, self._stopping.event)
        return CatchingUp(round_, at_start=settings.at_start, interval=settings.interval)

    @property
    def thread_id(self) -> int | None:
        """The native id of the thread that works most."""
        return self._door.thread_id

    def standing(self) -> str | None:
        """Say what of this process stands still, if anything; waits a second for the event loop."""
        try:
            if self._listening:
                self._door.call(_turn, TURN)
        except TimeoutError:
            return f"the webhook's event loop has not turned for {TURN:g} s"
        try:
            if self._listening and self._submit is not None:
                self._submit.server.call(_turn, TURN)
        except TimeoutError:
            return f"the event loop of the door for commands has not turned for {TURN:g} s"
        return self._progress.standing()

    def readiness(self) -> Readiness:
        """Return whether this ingest can make a notification durable."""
        publisher = self._publisher
        draining = self._stopping.event.is_set()
        ways = [publishing(publisher), *([] if self._spooler is None else [spooling(self._spooler)])]
        durable = any(ok for _, ok, _ in ways)
        return readiness(
            *ways,
            ("durable", durable, "notifications are taken" if durable else "nothing takes notifications"),
            ("draining", not draining, "stopping" if draining else "no"),
            *([] if self._submit is None else [self._submit.reason()]),
            *([] if self._watch is None else [self._watch.reason()]),
            judged=frozenset({"durable", "draining"}),
        )

    def _make_seen(self, url: str) -> SeenKeeper:
        longest = self._settings.ingest.confirm_timeout * LEDGER_SHARE
        return SeenKeeper(
            partial(open_seen, url),
            metrics=self._metrics,
            clock=self._clock,
            on_crash=self._stopping.crash,
            patience=min(LEDGER_PATIENCE, longest),
            first_patience=min(FIRST_PATIENCE, longest),
        )

    def _make_spooler(self) -> Spooler | None:
        ingest = self._settings.ingest
        if ingest.spool is None:
            return None
        return Spooler(
            partial(open_spool, ingest.spool),
            self._publisher,
            tell=parts.teller(self._settings),
            bounds=Bounds(max_bytes=ingest.spool_max_bytes, max_age=ingest.spool_max_age),
            # The request must still be there when the spool has it.
            patience=min(PATIENCE, ingest.confirm_timeout / 2),
            clock=self._clock,
            metrics=self._metrics,
            on_crash=self._stopping.crash,
        )


def spooling(spooler: Spooler) -> tuple[str, bool, str]:
    """Return whether the spool keeps events, how many it has, and if it takes no more, why not."""
    contents, trouble = spooler.contents, spooler.trouble
    waiting = f"{contents.events} events wait in the spool, {contents.bytes} bytes"
    return "spool", trouble is None, waiting if trouble is None else f"{trouble.detail}; {waiting}"


async def _turn() -> None:
    """Do nothing: it is done once the event loop comes round."""


def _prune(url: str, before: float) -> int:
    with closing(open_seen(url)) as seen:
        return seen.prune(before)


def make_ingest(
    settings: Settings,
    safekeeping: Safekeeping,
    metrics: Metrics,
    clock: Clock,
    once: Once,
    *,
    sent: Callable[[str], Awaitable[Sent | None]],
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
        path=ingest.path,
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
        max_connections=ingest.max_connections,
    )
    return HttpServer(Webhook(door, flow.take, refused=flow.refused), bind, name="ingest")


def run_ingest(settings: Settings) -> int:
    """Run an ingest until it is stopped; returns the exit code.

    Raises:
        SettingsError: the broker is not configured, or the account where it is to catch up or to keep subscriptions.

    """
    needs_account = settings.catch_up.configured or settings.subscriptions.keep
    require(settings, broker=True, account=needs_account)
    logs.configure(settings.log)
    stopping = Stopping()
    stopping.install()
    metrics = make_metrics()
    clock = SystemClock()
    tracer = make_tracer(settings, clock)
    process = IngestProcess(settings, stopping, metrics, clock, tracer)
    admin = serve_admin(settings, process.readiness, metrics, process.standing)
    process.start()
    one_core = OneCore(lambda: process.thread_id) if settings.ingest.one_core else None
    if one_core is not None:
        one_core.start()
    code = stopping.wait()
    process.stop()
    if tracer is not None:
        tracer.stop()
    if one_core is not None:
        one_core.stop()
    admin.stop(1.0)
    return code
