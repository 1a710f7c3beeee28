"""All metrics that processes of ours have, as they are scraped."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from bridge.adapters.clock import SystemClock
from bridge.domain.circuit_breaker import CircuitBreaker
from bridge.ops.metrics import Metrics, SupervisorMetrics
from bridge.ports import Depth
from bridge.worker.gauges import WorkerGauges, WorkerState

if TYPE_CHECKING:
    from prometheus_client import Metric


class StillSource:
    """A source of commands of which everything is known."""

    connected = consuming = True
    depth: Depth | None = Depth(3, 1)


def state_of(breaker: CircuitBreaker, **changes: Any) -> WorkerState:
    """Return how a worker stands that has nothing to do."""
    idle = WorkerState(
        commands=0, oldest_at=None, limited=0,
        in_flight=0, breaker=breaker, broker=True, ledger=True, lost=False
    )  # fmt: skip
    return idle._replace(**changes)


def families() -> dict[str, Metric]:
    """Return each family of ours by its name, with all samples that it may have."""
    metrics = Metrics(version="1")
    metrics.add_webhook_gauge(lambda: True)
    metrics.registry.register(
        WorkerGauges(
            lambda: state_of(CircuitBreaker.closed(1)), StillSource(), lambda: (1.0, 2.0), SystemClock()
        )
    )
    collected = chain(metrics.registry.collect(), SupervisorMetrics().registry.collect())
    return {family.name: family for family in collected if family.name.startswith("sms_bridge_")}


def samples() -> dict[str, set[str]]:
    """Return the names of all samples with the names of their labels, as PromQL has them.

    `_created` aside, which nobody asks for. Beside ours those that prometheus_client has of each process.
    """
    named: dict[str, set[str]] = {"process_start_time_seconds": set(), "up": set()}
    for family in families().values():
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                named.setdefault(sample.name, set()).update(sample.labels)
    return named
