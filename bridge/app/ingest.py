"""An ingest's process."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import structlog

from bridge.adapters.amqp.publisher import AmqpPublisher
from bridge.adapters.clock import SystemClock
from bridge.adapters.store import open_ledger, open_seen
from bridge.app import parts
from bridge.app.admin import (
    make_metrics,
    make_progress,
    publishing,
    readiness,
    report_started,
    serve_admin,
)
from bridge.app.listener import listen
from bridge.app.log import configure_log
from bridge.app.required import require
from bridge.app.submit import SubmitPart
from bridge.app.subscriptions import make_watch
from bridge.app.surroundings import require_records
from bridge.app.tracing import make_tracer, webhook_tracing
from bridge.app.webhook import (
    Observers,
    make_ingest,
    make_memory,
    make_spooler,
    make_webhook_server,
    spooling,
)
from bridge.ingest.evidence_writer import EvidenceWriter
from bridge.ingest.report import NotificationReport
from bridge.ingest.safekeeping import Publishing, Safekeeping
from bridge.jobs.backfill import CatchingUp
from bridge.jobs.pruner import Pruner
from bridge.ops.one_core import OneCore
from bridge.ops.shutdown import Stopping
from bridge.ports.serving import NotificationResult

if TYPE_CHECKING:
    from bridge.domain.events import Event
    from bridge.ops.metrics import Metrics
    from bridge.ports import Clock, Tracer
    from bridge.ports.serving import Readiness
    from bridge.settings import Settings

#: Notifications that wait for the broker's confirm; more are refused, to come again.
PUBLISH_LIMIT = 5_000
#: Seconds that requests have to end in when the process does.
GRACE = 5.0
#: Seconds that one recovered message may take to become durable.
RECOVERY = 60.0


class IngestProcess:
    """An ingest with its connection and its webhook, and the command API where that has a port."""

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
            parts.link(parts.address_of_process(settings), "ingest publishes", clock, stopping.crash),
            parts.topology(settings),
            declares=settings.broker.declare,
            deadline=settings.broker.publish_deadline,
            limit=PUBLISH_LIMIT,
            unrouted=metrics.unrouted.inc,
        )
        self._progress = make_progress(clock)
        metrics.watch_webhook(lambda: self._listening)
        metrics.connections.append(lambda: self._publisher.connected)
        metrics.alarms.append(lambda: self._publisher.blocked)
        url = settings.ledger.url.get_secret_value()
        self._evidence = EvidenceWriter(partial(open_ledger, url), metrics=metrics)
        self._memory = make_memory(settings, stopping, clock)
        # Here and not in the worker: an ingest may have a ledger of its own.
        self._pruner = Pruner(partial(_prune, url), settings.ledger.retention, clock, what="notifications")
        self._watch = make_watch(settings, metrics, clock)
        publishing = Publishing(publisher=self._publisher, tell=parts.teller(settings), clock=clock)
        self._spooler = make_spooler(settings, publishing, stopping, metrics)
        report = NotificationReport(metrics, clock)
        self._executor = make_ingest(
            settings,
            self._memory,
            Safekeeping(publishing, self._spooler),
            report,
            clock,
            Observers(
                evidence=self._evidence.offer,
                watch=self._watch,
                traces=webhook_tracing(settings, tracer),
            ),
        )
        self._webhook = make_webhook_server(settings, self._executor, report)
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
        port = listen(self._webhook, ingest, "ingest")
        self._listening = True
        self._progress.watch("the webhook's event loop", lambda: self._webhook.rounds)
        if self._submit is not None:
            self._submit.start(self._progress)
        if self._spooler is not None:
            self._spooler.start()
        self._publisher.start()
        self._progress.watch("the link that publishes", lambda: self._publisher.rounds)
        self._evidence.start()
        self._memory.start()
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
        self._webhook.stop(GRACE)
        if self._submit is not None:
            self._submit.stop(GRACE)
        if self._catching_up is not None:
            self._catching_up.stop()
        self._publisher.stop()
        if self._spooler is not None:
            self._spooler.stop()
        self._evidence.stop()
        self._memory.stop()
        self._pruner.stop()
        structlog.get_logger().info("ingest.stopped")

    def _make_catching_up(self) -> CatchingUp:
        """Return what reads the history; what it finds is handled as a webhook is."""

        def publish(event: Event) -> NotificationResult:
            try:
                return self._webhook.call(partial(self._executor.recover, event), RECOVERY)
            except TimeoutError:
                return NotificationResult.REFUSED

        # Not at the top: an ingest that does not catch up needs no client of the provider.
        from bridge.app.backfill import catch_up

        settings = self._settings.catch_up
        round_ = catch_up(self._settings, publish, self._clock, self._stopping.event)
        return CatchingUp(round_, at_start=settings.at_start, interval=settings.interval)

    @property
    def thread_id(self) -> int | None:
        """The native id of the thread that works most."""
        return self._webhook.thread_id

    def standing(self) -> str | None:
        """Say what of this process stands still, if anything."""
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


def _prune(url: str, before: float) -> int:
    with closing(open_seen(url)) as seen:
        return seen.prune(before)


def run_ingest(settings: Settings) -> int:
    """Run an ingest until it is stopped; returns the exit code.

    Raises:
        SettingsError: the broker is not configured, or the account where it is to catch up or to keep subscriptions, or
            the authorization where it is to take commands; or ledger or spool can't be used.

    """
    needs_account = settings.catch_up.configured or settings.subscriptions.keep
    require(settings, broker=True, account=needs_account, submit=True)
    require_records(settings, ("ingest",))
    configure_log(settings)
    stopping = Stopping()
    stopping.install()
    metrics = make_metrics()
    clock = SystemClock()
    tracer = make_tracer(settings, clock)
    process = IngestProcess(settings, stopping, metrics, clock, tracer)
    admin = serve_admin(
        settings, process.readiness, metrics, process.standing, port=settings.admin.ingest_port
    )
    process.start()
    report_started(process.readiness, process.standing)
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
