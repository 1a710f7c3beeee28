"""The supervisor's process: it starts and watches the workers, and serves one admin port for all of them."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from bridge.adapters.children import Child
from bridge.adapters.clock import SystemClock
from bridge.adapters.http.scraper import HOST
from bridge.adapters.http.supervisor_app import SupervisorAdmin, readiness_of_all, stall_of
from bridge.app.admin import listen_admin
from bridge.app.log import configure_log
from bridge.ops import service_manager as notify_systemd
from bridge.ops.metrics import SupervisorMetrics
from bridge.ops.service_report import Reporting
from bridge.ops.shutdown import Stopping
from bridge.ops.supervisor import MARGIN, Supervision, Supervisor
from bridge.settings.transfer import pack

if TYPE_CHECKING:
    from bridge.ports.http_results import Readiness
    from bridge.settings import Settings

#: The module of a worker process. It is given by name, because its import loads everything that a worker needs.
CHILD = "bridge.app.child"


def run_supervisor(settings: Settings) -> int:
    """Run `worker.processes` worker processes until they are stopped; returns the exit code."""
    configure_log(settings)
    stopping = Stopping()
    metrics = SupervisorMetrics()
    line = pack(settings_of_one(settings))
    supervision = Supervision(
        start=lambda number: Child(CHILD, str(number), line=line, environ=os.environ),
        stopping=stopping,
        clock=SystemClock(),
        metrics=metrics,
    )
    supervisor = Supervisor(supervision, settings.worker.processes, notify_systemd.ready)
    reported = _Reported(supervisor, stopping)
    stopping.install(again=supervisor.end_at_once)
    app = SupervisorAdmin(supervisor.processes, stopping.event.is_set, metrics.registry)
    # The port first: if it can't be opened, no worker has been started.
    admin = listen_admin(settings, app)
    supervisor.start()
    Reporting(reported.readiness, reported.stall).start()
    code = stopping.wait()
    ended = supervisor.stop(settings.worker.grace_period + MARGIN)
    admin.stop(1.0)
    return code or ended


class _Reported:
    """The readiness of all processes, read once for both the status and the stall check."""

    def __init__(self, supervisor: Supervisor, stopping: Stopping) -> None:
        self._supervisor = supervisor
        self._stopping = stopping
        self._readiness: Readiness | None = None

    def stall(self) -> str | None:
        """Read the readiness of all processes, and describe the first stalled one."""
        self._readiness = asyncio.run(
            readiness_of_all(self._supervisor.processes(), draining=self._stopping.event.is_set())
        )
        return stall_of(self._readiness)

    def readiness(self) -> Readiness | None:
        """Return the readiness that `stall` has read."""
        return self._readiness


def settings_of_one(settings: Settings) -> Settings:
    """Return the settings of each process: the common ones, with its own admin port for the supervisor."""
    return settings.model_copy(
        update={
            "worker": settings.worker.model_copy(update={"processes": 1}),
            "admin": settings.admin.model_copy(update={"host": HOST, "port": 0}),
        }
    )
