"""Parts of a worker, in groups: its ports, its options, its lifecycle and its machinery."""

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
    """The ports of a worker: everything outside the process."""

    publisher: Publisher
    ledger: Ledger
    gateway: Gateway
    clock: LedgerClock


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """The options of a worker: its rules and its capacity."""

    rules: SendRules
    #: Concurrent calls to the provider.
    concurrency: int
    #: Submissions that may wait for their rate limit in the worker rather than in the delay queues.
    spare: int
    #: The name of this process in the ledger's claims.
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """The end of a process: by a stop, a crash or an unusable ledger. Either callback has to end the process."""

    #: Set when the process has to stop.
    stopping: threading.Event
    on_crash: Callable[[], None]
    #: Called if the database is not, or no longer, the command queue's ledger.
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
    #: The counter of deliveries.
    received: Counter
