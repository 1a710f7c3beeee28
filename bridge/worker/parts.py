"""The parts that a worker is made of, in groups: its ports, its settings, how it ends, and its machinery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from prometheus_client import Counter

    from bridge.domain.outcome_messages import SendRules
    from bridge.ports import Gateway, Ledger, Publisher
    from bridge.worker.admission import Admission
    from bridge.worker.flow_control import FlowControl
    from bridge.worker.ledger_clock import LedgerClock
    from bridge.worker.loop import WorkerLoop
    from bridge.worker.provider_calls import ProviderCalls
    from bridge.worker.publications import Publications
    from bridge.worker.report import WorkerReport


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPorts:
    """Everything outside the process that a worker works with."""

    publisher: Publisher
    ledger: Ledger
    gateway: Gateway
    clock: LedgerClock


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How a worker sends, and how much at once."""

    rules: SendRules
    #: Calls of the provider at once.
    concurrency: int
    #: Submissions that may wait for their rate limit in the worker rather than in the delay queues.
    spare: int
    #: Names this process in the ledger's claims.
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """How a process ends: `stopping` is set once it is to; it has to end where one of the others is called."""

    stopping: threading.Event
    on_crash: Callable[[], None]
    #: The database is not, or no longer, the command queue's ledger.
    on_unusable: Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machinery:
    """The parts of a worker that carry out actions."""

    loop: WorkerLoop
    calls: ProviderCalls
    flow_control: FlowControl
    admission: Admission
    publications: Publications
    report: WorkerReport
    #: Counts deliveries.
    received: Counter
