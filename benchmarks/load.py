"""The load of a stand's workers, and the costs of a turn."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class Load:
    """How one stand works."""

    name: str
    in_flight: int = 64
    workers: int = 1
    #: Characters.
    text: int = 32
    #: Seconds that the provider takes for a call.
    latency: float = 0.0
    postgresql: bool = False
    #: Commands left on the queue by each turn.
    waiting: int = 0
    #: A rate limit of the account; 0 for none.
    limit: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The costs of one turn. Processor time is in seconds for each 1,000 commands."""

    per_second: float
    worker: float
    broker: float
    #: PostgreSQL; 0 where the ledger is on SQLite.
    database: float
    #: The stand-in for the provider.
    provider: float
    #: MB, of all workers and of the broker, at the end.
    memory: float
    broker_memory: float
    commits_per_second: float
    changes_per_commit: float
    #: Seconds.
    commit: float
    #: Processors that other programs used.
    others: float


def median(costs: Sequence[Cost], what: str) -> float:
    """Return the median of one of the figures."""
    return statistics.median(figures(costs, what))


def figures(costs: Sequence[Cost], what: str) -> list[float]:
    """Return one of the figures of each turn."""
    return [float(getattr(cost, what)) for cost in costs]
