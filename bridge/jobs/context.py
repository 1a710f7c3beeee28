"""The surroundings of a job in its process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading

    from bridge.ops.metrics import Metrics
    from bridge.ports import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """The clock and the metrics of the process, and the event that is set once it is to end."""

    clock: Clock
    metrics: Metrics
    stopping: threading.Event
