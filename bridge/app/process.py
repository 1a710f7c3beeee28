"""Process context: the dependencies that all parts of one process share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.adapters.clock import SystemClock
from bridge.app.admin import make_metrics
from bridge.app.trace_export import make_tracer
from bridge.ops.shutdown import Stopping

if TYPE_CHECKING:
    from bridge.adapters.opentelemetry import OtlpTracer
    from bridge.ops.metrics import Metrics
    from bridge.ports import Clock
    from bridge.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessContext:
    """The dependencies that all parts of a process share."""

    settings: Settings
    stopping: Stopping
    metrics: Metrics
    clock: Clock
    tracer: OtlpTracer | None = None

    @property
    def ledger_url(self) -> str:
        """The ledger's URL, with its password."""
        return self.settings.ledger.url.get_secret_value()

    def close(self) -> None:
        """Send the remaining spans."""
        if self.tracer is not None:
            self.tracer.stop()


def begin_process(settings: Settings, stopping: Stopping | None = None) -> ProcessContext:
    """Return the context of this process. It installs the signal handlers, unless `stopping` is given."""
    if stopping is None:
        stopping = Stopping()
        stopping.install()
    clock = SystemClock()
    return ProcessContext(
        settings=settings,
        stopping=stopping,
        metrics=make_metrics(),
        clock=clock,
        tracer=make_tracer(settings, clock),
    )
