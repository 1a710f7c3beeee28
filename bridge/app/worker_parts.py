"""Factory of a worker, its gauges and its readiness, from the settings."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

from bridge.adapters.http.supervisor_app import WORKING
from bridge.app import command_client, parts
from bridge.app.admin import publishing, readiness
from bridge.app.trace_export import command_tracing
from bridge.worker.gauges import WorkerGauges
from bridge.worker.parts import Lifecycle, WorkerOptions
from bridge.worker.worker import Worker

if TYPE_CHECKING:
    import threading

    from bridge.adapters.cpaas.client import CpaasClient
    from bridge.app.admin import Outlet
    from bridge.app.process import ProcessContext
    from bridge.ops.metrics import Metrics
    from bridge.ports import Clock
    from bridge.ports.http_results import Readiness
    from bridge.worker.gauges import Source
    from bridge.worker.parts import WorkerPorts


def make_worker(context: ProcessContext, ports: WorkerPorts, calls_stop: threading.Event) -> Worker:
    """Return the worker of this process; `calls_stop` interrupts waits of the gateway."""
    settings, stopping = context.settings, context.stopping
    return Worker(
        ports,
        WorkerOptions(
            rules=command_client.send_rules(settings),
            concurrency=settings.worker.concurrency,
            # Half of the prefetched commands beyond those that can be sent at once.
            spare=max(0, settings.worker.prefetch - settings.worker.concurrency) // 2,
            owner=f"{parts.name_of_process('worker')} {uuid.uuid4()}",
        ),
        Lifecycle(
            stopping=calls_stop,
            on_crash=stopping.crash,
            on_unusable=lambda: stopping.crash(os.EX_CONFIG),
        ),
        context.metrics,
        command_tracing(settings, context.tracer),
    )


def measure(
    metrics: Metrics, worker: Worker, source: Source, publisher: Outlet, client: CpaasClient, clock: Clock
) -> None:
    """Register the gauges of a worker, which are read at each scrape."""
    metrics.connections += [lambda: source.connected, lambda: publisher.connected]
    metrics.alarms.append(lambda: publisher.blocked)
    metrics.registry.register(WorkerGauges(worker.state, source, client.token_times, clock))


def worker_readiness(
    worker: Worker, source: Source, publisher: Outlet, *, draining: bool, stall: str | None = None
) -> Readiness:
    """Return whether a worker consumes and sends, with reasons; `stall` names a stalled thread."""
    problem = worker.problem
    return readiness(
        (
            "consuming",
            source.consuming,
            "a consumer of the command queue" if source.consuming else "not consuming",
        ),
        publishing(publisher),
        ("sending", problem is None, problem or "no known obstacle"),
        (WORKING, stall is None, stall or "all threads run"),
        ("draining", not draining, "stopping" if draining else "no"),
        judged=frozenset({"consuming", "publishing", "sending", WORKING, "draining"}),
    )
