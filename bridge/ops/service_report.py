"""Service report: writes changes of the status to systemd and feeds its watchdog."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import structlog

from bridge.concurrency.background_worker import BackgroundWorker
from bridge.ops import service_manager as notify_systemd

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.ports.http_results import Readiness

#: Seconds between two reads of the readiness.
POLL = 2.0
#: Characters of a status; `systemctl status` shows it on one line.
LONGEST = 500

_log = structlog.get_logger()


class Reporting(BackgroundWorker):
    """Background worker that reports the readiness to a service manager."""

    def __init__(
        self,
        ready: Callable[[], Readiness | None],
        stall: Callable[[], str | None],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """`ready` returns None if the readiness is unknown; `stall` names a stalled thread, or returns None.

        The watchdog is not fed while a thread is stalled. Both are called on this worker's thread; a supervisor's
        take a second.
        """
        self._watchdog = notify_systemd.watchdog_seconds(environ)
        # Four reports within each watchdog interval.
        self._every = POLL if self._watchdog is None else min(POLL, self._watchdog / 4)
        super().__init__("reporting", retry=self._every)
        self._ready = ready
        self._stall = stall
        self._environ = environ
        self._status: str | None = None
        self._was_stalled = False

    def start(self) -> None:
        """Begin to report if a service manager listens. It ends with the process."""
        if self._environ.get("NOTIFY_SOCKET"):
            super().start()

    def run_once(self) -> float:
        """Report a changed status, and feed the watchdog."""
        stall = self._stall()
        if self._watchdog is not None and stall is None:
            notify_systemd.alive(self._environ)
        if stall is not None and not self._was_stalled:
            _log.error("process.stalled", reason=stall)
        self._was_stalled = stall is not None
        status = stall or status_of(self._ready())
        if status is not None and status != self._status:
            self._status = status
            notify_systemd.status(status, self._environ)
        return self._every


def status_of(readiness: Readiness | None) -> str | None:
    """Return the readiness in one line, with the failed reasons."""
    if readiness is None:
        return None
    matters = [f"{reason.name}: {reason.detail}" for reason in readiness.reasons if not reason.ok]
    line = "; ".join(["ready" if readiness.ready else "not ready", *matters])
    return " ".join(line.split())[:LONGEST]
