"""A worker's process."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog

from bridge.adapters.cpaas.gateway import CpaasGateway
from bridge.adapters.store import open_ledger, open_receipts
from bridge.app import command_client
from bridge.app.admin import make_progress, readiness, report_started, serve_admin
from bridge.app.broker import BrokerConnections
from bridge.app.log import configure_log
from bridge.app.process import begin_process
from bridge.app.receipts import receipt_poller
from bridge.app.worker_parts import make_worker, measure, worker_readiness
from bridge.jobs.pruner import Pruner
from bridge.ops.one_core import OneCore
from bridge.ports import LedgerUnavailable, LedgerUnusable
from bridge.worker.ledger_clock import LedgerClock
from bridge.worker.parts import WorkerPorts

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.store.ledger import SqlLedger
    from bridge.app.broker import ConnectedPublisher, ConnectedSource
    from bridge.app.process import ProcessContext
    from bridge.concurrency.background_worker import BackgroundWorker
    from bridge.ops.shutdown import Stopping
    from bridge.ports.http_results import Readiness
    from bridge.settings import Settings
    from bridge.worker.worker import Worker

T = TypeVar("T")

#: Maximum number of unconfirmed messages. The prefetched commands can't reach it: in practice there is no bound.
PUBLISH_LIMIT = 1_000_000
#: Seconds between two attempts to open the ledger.
LEDGER_RETRY = 2.0
#: Seconds within which a background job has to stop.
JOB_STOP_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """The parts of a worker with an open ledger."""

    worker: Worker
    publisher: ConnectedPublisher
    source: ConnectedSource
    ledger: SqlLedger
    jobs: tuple[BackgroundWorker, ...]


class WorkerProcess:
    """A worker with its connections, started and stopped in an order that loses no message."""

    def __init__(self, context: ProcessContext, broker: BrokerConnections) -> None:
        self._context = context
        self._broker = broker
        self._parts: _Parts | None = None
        self._ledger_problem = "not open yet"
        self._progress = make_progress(context.clock)

    def start(self) -> None:
        """Open the ledger, retrying without end, then consume. The broker is connected in the background."""
        ledger = self._retry(partial(open_ledger, self._context.ledger_url))
        if ledger is None:
            return
        parts = self._parts = self._build(ledger)
        parts.publisher.start()
        parts.worker.start(parts.source)
        parts.source.start()
        self._progress.watch("the worker's loop", lambda: parts.worker.iterations)
        self._progress.watch("the consumer's connection thread", lambda: parts.source.iterations)
        self._progress.watch("the publisher's connection thread", lambda: parts.publisher.iterations)
        for job in parts.jobs:
            job.start()

    def _build(self, ledger: SqlLedger) -> _Parts:
        context, settings = self._context, self._context.settings
        calls_stop = threading.Event()
        clock = LedgerClock(context.clock, self._retry(ledger.time))
        publisher = self._broker.publisher("worker publishes", limit=PUBLISH_LIMIT)
        client = command_client.client(
            command_client.account(settings), settings, clock, calls_stop, context.tracer
        )
        gateway = CpaasGateway(client, clock, settings.reconcile.history_cap)
        ports = WorkerPorts(publisher=publisher, ledger=ledger, gateway=gateway, clock=clock)
        worker = make_worker(context, ports, calls_stop)
        source = self._broker.source("worker consumes", worker, ledger)
        measure(context.metrics, worker, source, publisher, client, clock)
        jobs: list[BackgroundWorker] = [Pruner(ledger.prune, settings.ledger.retention, clock)]
        if settings.receipts.poll:
            receipts = partial(open_receipts, context.ledger_url)
            jobs.append(receipt_poller(context, ports, client, worker, calls_stop, receipts))
        if settings.worker.one_core:
            jobs.append(OneCore(lambda: worker.thread_id))
        return _Parts(worker=worker, publisher=publisher, source=source, ledger=ledger, jobs=tuple(jobs))

    def stop(self) -> None:
        """Stop consuming, finish the commands in flight, acknowledge them, and close the connections."""
        parts = self._parts
        if parts is None:
            return
        # The source stays connected while the worker finishes, for the acknowledgements.
        parts.source.pause()
        finished = parts.worker.stop(self._context.settings.worker.grace_period)
        parts.source.stop()
        for job in parts.jobs:
            job.stop(JOB_STOP_TIMEOUT)
        parts.publisher.stop()
        parts.ledger.close()
        structlog.get_logger().info("worker.stopped", finished=finished)

    def stall(self) -> str | None:
        """Describe a stalled thread of this process; None if all run."""
        return self._progress.stall()

    def readiness(self) -> Readiness:
        """Return whether this worker consumes and sends, with reasons."""
        parts = self._parts
        if parts is None:
            return readiness(("ledger", False, self._ledger_problem), judged=frozenset({"ledger"}))
        return worker_readiness(
            parts.worker,
            parts.source,
            parts.publisher,
            draining=self._context.stopping.event.is_set(),
            stall=self.stall(),
        )

    def _retry(self, ask: Callable[[], T]) -> T | None:
        """Repeat a call to the ledger until it succeeds; None if the process stops before."""
        stopping = self._context.stopping
        while True:
            try:
                return ask()
            except LedgerUnusable as e:
                structlog.get_logger().error("ledger.unusable", reason=str(e))
                stopping.crash(os.EX_CONFIG)
                return None
            except LedgerUnavailable as e:
                self._ledger_problem = f"can't be opened: {e}"
                structlog.get_logger().error("ledger.unavailable", reason=str(e), retry_in=LEDGER_RETRY)
            if stopping.event.wait(LEDGER_RETRY):
                return None


def run_alone(settings: Settings) -> int:
    """Run the one process of a worker until it is stopped; returns the exit code."""
    configure_log(settings)
    return run_process(settings)


def run_process(
    settings: Settings,
    stopping: Stopping | None = None,
    listening: Callable[[int], None] = lambda _port: None,
) -> int:
    """Run a process of a worker until `stopping`, or a signal; returns the exit code.

    `listening` is called with the admin port once it listens.
    """
    context = begin_process(settings, stopping)
    process = WorkerProcess(context, BrokerConnections(context))
    admin = serve_admin(settings, process.readiness, context.metrics, process.stall)
    listening(admin.port)
    # Before the ledger is open: the worker waits for it without end, and systemd would not.
    report_started(process.readiness, process.stall)
    process.start()
    code = context.stopping.wait()
    process.stop()
    context.close()
    admin.stop(1.0)
    return code
