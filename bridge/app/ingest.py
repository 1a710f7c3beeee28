"""An ingest's process."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import structlog

from bridge.adapters.store import open_ledger, open_seen
from bridge.app import parts
from bridge.app.admin import make_progress, publishing, readiness, report_started, serve_admin
from bridge.app.broker import BrokerConnections
from bridge.app.environment import require_records
from bridge.app.listener import listen
from bridge.app.log import configure_log
from bridge.app.process import begin_process
from bridge.app.required import require
from bridge.app.submit import SubmitPart
from bridge.app.subscriptions import make_watch
from bridge.app.trace_export import webhook_tracing
from bridge.app.webhook import (
    Observers,
    make_ingest,
    make_memory,
    make_spooler,
    make_webhook_server,
    spooling,
)
from bridge.ingest.durable_publisher import DurablePublisher, Publishing
from bridge.ingest.evidence_writer import EvidenceWriter
from bridge.ingest.report import NotificationReport
from bridge.jobs.backfill import CatchingUp
from bridge.jobs.pruner import Pruner
from bridge.ops.one_core import OneCore
from bridge.ports.http_results import NotificationResult

if TYPE_CHECKING:
    from bridge.app.process import ProcessContext
    from bridge.concurrency.background_worker import BackgroundWorker
    from bridge.domain.events import Event
    from bridge.ports.http_results import Readiness
    from bridge.settings import Settings

#: Maximum number of notifications that wait for the broker's confirm; further ones are refused and retried later.
PUBLISH_LIMIT = 5_000
#: Seconds within which requests have to end when the process stops.
GRACE = 5.0
#: Seconds that one recovered message may take to become durable.
RECOVERY = 60.0


class IngestProcess:
    """An ingest with its broker connection and its webhook, and the command API if that has a port."""

    def __init__(self, context: ProcessContext, broker: BrokerConnections) -> None:
        self._context = context
        settings, metrics, clock = context.settings, context.metrics, context.clock
        self._publisher = broker.publisher("ingest publishes", limit=PUBLISH_LIMIT)
        self._progress = make_progress(clock)
        metrics.add_webhook_gauge(lambda: self._listening)
        metrics.connections.append(lambda: self._publisher.connected)
        metrics.alarms.append(lambda: self._publisher.blocked)
        self._watch = make_watch(settings, metrics, clock)
        publishing = Publishing(
            publisher=self._publisher, to_message=parts.message_maker(settings), clock=clock
        )
        self._spooler = make_spooler(settings, publishing, context.stopping, metrics)
        report = NotificationReport(metrics, clock)
        url = context.ledger_url
        evidence = EvidenceWriter(partial(open_ledger, url), metrics=metrics)
        memory = make_memory(settings, context.stopping, clock)
        self._executor = make_ingest(
            settings,
            memory,
            DurablePublisher(publishing, self._spooler),
            report,
            clock,
            Observers(
                evidence=evidence.add,
                watch=self._watch,
                traces=webhook_tracing(settings, context.tracer),
            ),
        )
        # In the ingest and not only in the worker: an ingest may have a separate ledger.
        pruner = Pruner(partial(_prune, url), settings.ledger.retention, clock, what="notifications")
        #: The jobs that record, and those that call the provider.
        self._recording: tuple[BackgroundWorker, ...] = (evidence, memory, pruner)
        self._calling = [
            *([] if self._watch is None else [self._watch]),
            *([self._catching_up()] if settings.catch_up.configured else []),
        ]
        self.webhook = make_webhook_server(settings, self._executor, report)
        self.submit = None if settings.submit.port is None else SubmitPart(context, broker)
        self._listening = False

    def start(self) -> None:
        """Listen, and connect to the broker in the background.

        Raises:
            CannotListen: the port can't be opened.
            SettingsError: the certificate can't be used.

        """
        ingest = self._context.settings.ingest
        port = listen(self.webhook, ingest, "ingest")
        self._listening = True
        self._progress.watch("the webhook's event loop", lambda: self.webhook.iterations)
        if self.submit is not None:
            self.submit.start(self._progress)
        if self._spooler is not None:
            self._spooler.start()
        self._publisher.start()
        self._progress.watch("the publisher's connection thread", lambda: self._publisher.iterations)
        for job in (*self._recording, *self._calling):
            job.start()
        structlog.get_logger().info("ingest.listening", host=ingest.host, port=port, path=ingest.path)

    def stop(self) -> None:
        """Refuse new requests, answer those in flight, and close the broker's connection and the spool.

        The spool is closed after the broker: it deletes events until the last confirm.
        """
        self.webhook.stop(GRACE)
        if self.submit is not None:
            self.submit.stop(GRACE)
        for job in self._calling:
            job.stop()
        self._publisher.stop()
        if self._spooler is not None:
            self._spooler.stop()
        for job in self._recording:
            job.stop()
        structlog.get_logger().info("ingest.stopped")

    def _catching_up(self) -> CatchingUp:
        """Return the backfill job; messages that it finds are processed like notifications."""

        def publish(event: Event) -> NotificationResult:
            try:
                return self.webhook.call(partial(self._executor.recover, event), RECOVERY)
            except TimeoutError:
                return NotificationResult.REFUSED

        # Not at the top: without backfill an ingest needs no client of the provider.
        from bridge.app.backfill import catch_up

        context, settings = self._context, self._context.settings.catch_up
        round_ = catch_up(context.settings, publish, context.clock, context.stopping.event)
        return CatchingUp(round_, at_start=settings.at_start, interval=settings.interval)

    def stall(self) -> str | None:
        """Describe a stalled thread of this process; None if all run."""
        return self._progress.stall()

    def readiness(self) -> Readiness:
        """Return whether this ingest can make a notification durable."""
        publisher = self._publisher
        draining = self._context.stopping.event.is_set()
        ways = [publishing(publisher), *([] if self._spooler is None else [spooling(self._spooler)])]
        durable = any(ok for _, ok, _ in ways)
        return readiness(
            *ways,
            ("durable", durable, "notifications are taken" if durable else "nothing takes notifications"),
            ("draining", not draining, "stopping" if draining else "no"),
            *([] if self.submit is None else [self.submit.reason()]),
            *([] if self._watch is None else [self._watch.reason()]),
            judged=frozenset({"durable", "draining"}),
        )


def _prune(url: str, before: float) -> int:
    with closing(open_seen(url)) as seen:
        return seen.prune(before)


def run_ingest(settings: Settings) -> int:
    """Run an ingest until it is stopped; returns the exit code.

    Raises:
        SettingsError: the broker is not configured; or the account, which backfill and subscriptions need; or the
            authorization of the command API; or ledger or spool can't be used.

    """
    needs_account = settings.catch_up.configured or settings.subscriptions.keep
    require(settings, broker=True, account=needs_account, submit=True)
    require_records(settings, ("ingest",))
    configure_log(settings)
    context = begin_process(settings)
    process = IngestProcess(context, BrokerConnections(context))
    admin = serve_admin(
        settings, process.readiness, context.metrics, process.stall, port=settings.admin.ingest_port
    )
    process.start()
    warn_if_unauthenticated(settings)
    report_started(process.readiness, process.stall)
    one_core = OneCore(lambda: process.webhook.thread_id)
    if settings.ingest.one_core:
        one_core.start()
    code = context.stopping.wait()
    process.stop()
    context.close()
    one_core.stop()
    admin.stop(1.0)
    return code


def warn_if_unauthenticated(settings: Settings) -> None:
    """Log that the webhook needs no authorization, if so."""
    if not settings.ingest.authorization:
        structlog.get_logger().warning(
            "ingest.unauthenticated",
            hint="any client that reaches the port can post notifications: set ingest.authorization",
        )
