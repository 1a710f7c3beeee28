"""Everything in one process: the real thing where it is configured, else a bridge to try out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.adapters.clock import SystemClock
from bridge.app.admin import make_metrics, report_started, serve_admin
from bridge.app.ingest import IngestProcess
from bridge.app.log import configure_log
from bridge.app.required import require
from bridge.app.surroundings import require_records
from bridge.app.tracing import make_tracer
from bridge.app.worker import WorkerProcess
from bridge.ops.shutdown import Stopping
from bridge.ports.serving import Readiness
from bridge.settings import SettingProblem, SettingsError

if TYPE_CHECKING:
    from bridge.settings import Settings


def run_up(settings: Settings) -> int:
    """Run a worker and an ingest in one process until stopped; returns the exit code.

    Raises:
        SettingsError: a broker is configured without an account, or an account without a broker; or several processes;
            or commands are to be taken without an authorization; or ledger or spool can't be used.

    """
    if settings.worker.processes > 1:
        # Not left aside: whoever asked for more cores would wonder where they are.
        reason = "must be 1 for `bridge up`, which is one process: run `bridge worker` and `bridge ingest`"
        raise SettingsError([SettingProblem("worker.processes", reason)])
    require_records(settings, ("worker", "ingest"))
    stopping = Stopping()
    stopping.install()
    if settings.broker.url is None and not settings.cpaas.configured:
        require(settings, submit=True)
        return _try_out(settings, stopping)
    _require_both(settings)
    return _real(settings, stopping)


def _require_both(settings: Settings) -> None:
    with_ = "is missing: `bridge up` needs both a broker and an account, or neither to try it out"
    if settings.broker.url is None:
        raise SettingsError([SettingProblem("broker.url", with_)])
    if not settings.cpaas.configured:
        raise SettingsError([SettingProblem("cpaas.base_url", with_)])
    require(settings, broker=True, account=True, submit=True)


def _real(settings: Settings, stopping: Stopping) -> int:
    configure_log(settings)
    metrics, clock = make_metrics(), SystemClock()
    tracer = make_tracer(settings, clock)
    worker = WorkerProcess(settings, stopping, metrics, clock, tracer)
    ingest = IngestProcess(settings, stopping, metrics, clock, tracer)

    def ready() -> Readiness:
        one, other = worker.readiness(), ingest.readiness()
        return Readiness(ready=one.ready and other.ready, reasons=(*one.reasons, *other.reasons))

    def standing() -> str | None:
        return worker.standing() or ingest.standing()

    admin = serve_admin(settings, ready, metrics, standing)
    ingest.start()
    report_started(ready, standing)
    worker.start()
    code = stopping.wait()
    ingest.stop()
    worker.stop()
    if tracer is not None:
        tracer.stop()
    admin.stop(1.0)
    return code


def _try_out(settings: Settings, stopping: Stopping) -> int:
    if settings.log.format is None:
        # The events are the show: the log speaks up only when something is wrong.
        settings = settings.model_copy(update={"log": settings.log.model_copy(update={"level": "warning"})})
    configure_log(settings)
    # Not at the top: who runs the real thing needs neither simulator nor screen.
    from bridge.app.trial import Trial

    trial = Trial(settings, stopping, make_metrics(), SystemClock())
    trial.start()
    code = stopping.wait()
    trial.stop()
    return code
