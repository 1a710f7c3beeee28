"""A worker's process."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING

import structlog

from bridge.adapters.amqp.consumer import AmqpConsumer
from bridge.adapters.amqp.ledger_mark import LedgerMark
from bridge.adapters.amqp.publisher import AmqpPublisher
from bridge.adapters.clock import SystemClock
from bridge.adapters.cpaas.gateway import CpaasGateway
from bridge.adapters.store import open_ledger, open_receipts
from bridge.app import parts, sending
from bridge.app.admin import (
    make_metrics,
    make_progress,
    readiness,
    report_started,
    serve_admin,
)
from bridge.app.log import configure_log
from bridge.app.receipts import receipt_poller
from bridge.app.tracing import command_tracing, make_tracer
from bridge.app.worker_parts import make_worker, measure, worker_readiness
from bridge.jobs.pruner import Pruner
from bridge.ops.one_core import OneCore
from bridge.ops.shutdown import Stopping
from bridge.ports import LedgerUnavailable, LedgerUnusable
from bridge.worker.steady import SteadyClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.store.ledger import SqlLedger
    from bridge.jobs.receipts import ReceiptPoller
    from bridge.ops.metrics import Metrics
    from bridge.ports import Clock, Tracer
    from bridge.ports.serving import Readiness
    from bridge.settings import Settings
    from bridge.worker.worker import Worker

#: Messages that wait for the broker's confirm: what the prefetched commands may lead to, so in practice no bound.
PUBLISH_LIMIT = 1_000_000
#: Seconds between two tries to open the ledger.
LEDGER_PAUSE = 2.0
#: Seconds that asking for receipts may take to end: what is not told by then another worker asks for.
RECEIPTS_PATIENCE = 2.0


class WorkerProcess:
    """A worker with its connections, started and stopped in the order that loses nothing."""

    def __init__(
        self,
        settings: Settings,
        stopping: Stopping,
        metrics: Metrics,
        clock: Clock,
        tracer: Tracer | None = None,
    ) -> None:
        self._settings = settings
        self._tracer = tracer
        self._stopping = stopping
        self._metrics = metrics
        self._clock = clock
        self._worker: Worker | None = None
        self._source: AmqpConsumer | None = None
        self._publisher: AmqpPublisher | None = None
        self._ledger: SqlLedger | None = None
        self._pruner: Pruner | None = None
        self._receipts: ReceiptPoller | None = None
        self._one_core: OneCore | None = None
        self._ledger_trouble = "not open yet"
        self._progress = make_progress(clock)

    def start(self) -> None:
        """Open the ledger, then consume; the broker may come when it likes."""
        settings = self._settings
        self._ledger = self._open_ledger()
        if self._ledger is None:
            return
        address, names = parts.address_of_process(settings), parts.topology(settings)
        self._publisher = AmqpPublisher(
            parts.link(address, "worker publishes", self._clock, self._stopping.crash),
            names,
            declares=settings.broker.declare,
            deadline=settings.broker.publish_deadline,
            limit=PUBLISH_LIMIT,
            unrouted=self._metrics.unrouted.inc,
        )
        calls_stop = threading.Event()
        steady = SteadyClock(self._clock, self._time_of(self._ledger))
        client = sending.client(sending.account(settings), settings, steady, calls_stop, self._tracer)
        self._worker = make_worker(
            settings,
            self._publisher,
            self._ledger,
            CpaasGateway(client, steady, settings.reconcile.history_cap),
            steady,
            calls_stop,
            self._metrics,
            self._stopping,
            command_tracing(settings, self._tracer),
        )
        self._source = AmqpConsumer(
            parts.link(address, "worker consumes", self._clock, self._stopping.crash),
            self._worker,
            names,
            prefetch=settings.worker.prefetch,
            declares=settings.broker.declare,
            mark=self._mark(self._ledger),
        )
        self._ledger.lineages.on_moved = self._source.compare_again
        measure(self._metrics, self._worker, self._source, self._publisher, client, steady)
        self._pruner = Pruner(self._ledger.prune, settings.ledger.retention, steady)
        self._receipts = receipt_poller(
            settings,
            partial(open_receipts, settings.ledger.url.get_secret_value()),
            client,
            self._publisher,
            self._worker,
            steady,
            self._metrics,
            calls_stop,
        )
        if settings.worker.one_core:
            self._one_core = OneCore(lambda: None if self._worker is None else self._worker.thread_id)
            self._one_core.start()
        self._publisher.start()
        self._worker.start(self._source)
        self._source.start()
        self._progress.watch("the worker's loop", lambda: self._worker.rounds if self._worker else 0)
        self._progress.watch("the link that consumes", lambda: self._source.rounds if self._source else 0)
        self._progress.watch(
            "the link that publishes", lambda: self._publisher.rounds if self._publisher else 0
        )
        self._pruner.start()
        if self._receipts is not None:
            self._receipts.start()

    def stop(self) -> None:
        """Stop consuming, finish what is in flight, settle, and let go."""
        if self._worker is None or self._source is None or self._publisher is None or self._ledger is None:
            return
        # The source stays connected while the worker finishes: its acks go out on it.
        self._source.pause()
        finished = self._worker.stop(self._settings.worker.grace_period)
        self._source.stop()
        if self._receipts is not None:
            self._receipts.stop(RECEIPTS_PATIENCE)
        self._publisher.stop()
        if self._pruner is not None:
            self._pruner.stop()
        if self._one_core is not None:
            self._one_core.stop()
        self._ledger.close()
        structlog.get_logger().info("worker.stopped", finished=finished)

    def standing(self) -> str | None:
        """Say what of this process stands still, if anything."""
        return self._progress.standing()

    def readiness(self) -> Readiness:
        """Return whether this worker may consume, and why not."""
        worker, source, publisher = self._worker, self._source, self._publisher
        if worker is None or source is None or publisher is None:
            return readiness(("ledger", False, self._ledger_trouble), judged=frozenset({"ledger"}))
        return worker_readiness(
            worker, source, publisher, draining=self._stopping.event.is_set(), standing=self.standing()
        )

    def _open_ledger(self) -> SqlLedger | None:
        """Open the ledger, however long it takes; None where the process is to end before."""
        url = self._settings.ledger.url.get_secret_value()
        while True:
            try:
                return open_ledger(url)
            except LedgerUnusable as e:
                structlog.get_logger().error("ledger.unusable", reason=str(e))
                self._stopping.crash(os.EX_CONFIG)
                return None
            except LedgerUnavailable as e:
                self._ledger_trouble = f"can't be opened: {e}"
                structlog.get_logger().error("ledger.unavailable", reason=str(e), retry_in=LEDGER_PAUSE)
            if self._stopping.event.wait(LEDGER_PAUSE):
                return None

    def _time_of(self, ledger: SqlLedger) -> float | None:
        """Return the time of the ledger that was just opened; None for the machine's own."""
        while True:
            try:
                return ledger.time()
            except LedgerUnusable:
                # The worker's loop ends the process for it.
                return None
            except LedgerUnavailable as e:
                structlog.get_logger().error("ledger.unavailable", reason=str(e), retry_in=LEDGER_PAUSE)
            if self._stopping.event.wait(LEDGER_PAUSE):
                return None

    def _mark(self, ledger: SqlLedger) -> LedgerMark:
        """Return what the consumer compares: another ledger than the queue's ends the process."""

        def mistaken(reason: str) -> None:
            structlog.get_logger().error("ledger.mistaken", reason=reason)
            self._stopping.crash(os.EX_CONFIG)

        max_age = sending.loss_matters_for(self._settings)
        return LedgerMark(ledger.lineages, max_age=max_age, mistaken=mistaken)


def run_alone(settings: Settings) -> int:
    """Run the one process of a worker until it is stopped; returns the exit code."""
    configure_log(settings)
    stopping = Stopping()
    stopping.install()
    return run_process(settings, stopping)


def run_process(
    settings: Settings, stopping: Stopping, listening: Callable[[int], None] = lambda _port: None
) -> int:
    """Run a process of a worker until `stopping`; returns the exit code.

    `listening` is told the admin port once it answers there.
    """
    metrics = make_metrics()
    clock = SystemClock()
    tracer = make_tracer(settings, clock)
    process = WorkerProcess(settings, stopping, metrics, clock, tracer)
    admin = serve_admin(settings, process.readiness, metrics, process.standing)
    listening(admin.port)
    # Before its ledger is there: it waits for that without end, and systemd would not.
    report_started(process.readiness, process.standing)
    process.start()
    code = stopping.wait()
    process.stop()
    if tracer is not None:
        tracer.stop()
    admin.stop(1.0)
    return code
