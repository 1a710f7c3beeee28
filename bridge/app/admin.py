"""The admin port of a process: health, readiness, metrics."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol

import structlog

from bridge.adapters.http.admin_app import Admin
from bridge.adapters.http.server.options import ServerOptions
from bridge.adapters.http.server.server import HttpServer
from bridge.app.files import ADMIN_CONNECTIONS
from bridge.app.listener import listen
from bridge.ops import service_manager as notify_systemd
from bridge.ops.metrics import Metrics
from bridge.ops.progress import TIMEOUT, ThreadProgress
from bridge.ops.service_report import Reporting
from bridge.ports.http_results import Readiness, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.http.server.application import Application
    from bridge.ports import Clock
    from bridge.settings import Settings


def make_metrics() -> Metrics:
    """Return the metrics of this process."""
    return Metrics(version=version("sms-bridge"))


def serve_admin(
    settings: Settings,
    ready: Callable[[], Readiness],
    metrics: Metrics,
    stall: Callable[[], str | None] = lambda: None,
    *,
    port: int | None = None,
) -> HttpServer:
    """Listen on `port`, by default a worker's; `stall` names a stalled thread, and does not block."""
    metrics.ready.set_function(lambda: ready().ready)
    return listen_admin(settings, Admin(ready, metrics.registry, stall), port=port)


def report_started(ready: Callable[[], Readiness], stall: Callable[[], str | None] = lambda: None) -> None:
    """Notify systemd that the service runs. Call it once all ports listen; the broker need not be connected.

    From then on the status is reported to systemd, and its watchdog is fed until `stall` names a stalled thread.
    """
    notify_systemd.ready()
    Reporting(ready, stall).start()


def make_progress(clock: Clock) -> ThreadProgress:
    """Return the progress of this process's threads. Its timeout is at most half of the watchdog's interval."""
    watchdog = notify_systemd.watchdog_seconds()
    return ThreadProgress(clock, timeout=TIMEOUT if watchdog is None else min(TIMEOUT, watchdog / 2))


def listen_admin(settings: Settings, app: Application, *, port: int | None = None) -> HttpServer:
    """Serve `app` on `port`, by default a worker's admin port."""
    chosen = settings.admin.worker_port if port is None else port
    where = settings.admin.model_copy(update={"port": chosen})
    options = ServerOptions(host=where.host, port=chosen, max_connections=ADMIN_CONNECTIONS)
    server = HttpServer(app, options, name="admin")
    listening = listen(server, where, "admin")
    structlog.get_logger().info("admin.listening", host=where.host, port=listening)
    return server


class Outlet(Protocol):
    """A publisher: the state that readiness reads."""

    @property
    def available(self) -> bool: ...
    @property
    def connected(self) -> bool: ...
    @property
    def blocked(self) -> bool: ...


def publishing(outlet: Outlet) -> tuple[str, bool, str]:
    """Return whether the broker accepts messages, with the reason."""
    if outlet.available:
        return "publishing", True, "the broker takes messages"
    if not outlet.connected:
        return "publishing", False, "no connection to the broker"
    if outlet.blocked:
        return "publishing", False, "the broker has an alarm of memory or disk"
    return "publishing", False, "the broker does not confirm"


def readiness(*reasons: tuple[str, bool, str], judged: frozenset[str]) -> Readiness:
    """Return ready if all reasons that are `judged` are ok; the others are only reported."""
    ready = all(ok for name, ok, _ in reasons if name in judged)
    return Readiness(ready=ready, reasons=tuple(Reason(*reason) for reason in reasons))
