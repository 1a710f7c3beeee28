"""`bridge up`: a worker and an ingest in one process, or the demo if nothing is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.app.admin import report_started, serve_admin
from bridge.app.broker import BrokerConnections
from bridge.app.environment import require_records
from bridge.app.ingest import IngestProcess, warn_if_unauthenticated
from bridge.app.log import configure_log
from bridge.app.process import begin_process
from bridge.app.required import require
from bridge.app.worker import WorkerProcess
from bridge.ports.http_results import Readiness
from bridge.settings import SettingProblem, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.app.process import ProcessContext
    from bridge.settings import Settings


def run_up(settings: Settings) -> int:
    """Run a worker and an ingest in one process until stopped; returns the exit code.

    Raises:
        SettingsError: a broker is configured without an account, or an account without a broker; or several processes;
            or the command API has no authorization; or ledger or spool can't be used.

    """
    if settings.worker.processes > 1:
        # An error instead of a silent change: the operator has asked for several processes.
        reason = "must be 1 for `bridge up`, which is one process: run `bridge worker` and `bridge ingest`"
        raise SettingsError([SettingProblem("worker.processes", reason)])
    require_records(settings, ("worker", "ingest"))
    if settings.broker.url is None and not settings.cpaas.configured:
        require(settings, submit=True)
        # Not at the top: only the demo needs the simulator and the console.
        from bridge.app.demo import run_demo

        return run_demo(settings)
    _require_both(settings)
    configure_log(settings)
    context = begin_process(settings)
    warn_if_unauthenticated(settings)
    return run_both(context, BrokerConnections(context))


def _require_both(settings: Settings) -> None:
    with_ = "is missing: `bridge up` needs both a broker and an account, or neither to try it out"
    if settings.broker.url is None:
        raise SettingsError([SettingProblem("broker.url", with_)])
    if not settings.cpaas.configured:
        raise SettingsError([SettingProblem("cpaas.base_url", with_)])
    require(settings, broker=True, account=True, submit=True)


def run_both(
    context: ProcessContext,
    broker: BrokerConnections,
    started: Callable[[IngestProcess, int], None] = lambda _ingest, _port: None,
) -> int:
    """Run a worker and an ingest until stopped; returns the exit code.

    `started` is called with the ingest and the admin port once all runs.
    """
    worker, ingest = WorkerProcess(context, broker), IngestProcess(context, broker)

    def ready() -> Readiness:
        one, other = worker.readiness(), ingest.readiness()
        return Readiness(ready=one.ready and other.ready, reasons=(*one.reasons, *other.reasons))

    def stall() -> str | None:
        return worker.stall() or ingest.stall()

    admin = serve_admin(context.settings, ready, context.metrics, stall)
    ingest.start()
    report_started(ready, stall)
    worker.start()
    started(ingest, admin.port)
    code = context.stopping.wait()
    ingest.stop()
    worker.stop()
    context.close()
    admin.stop(1.0)
    return code
