"""The worker: sends the commands of the command queue. `bridge.worker.delivery` has the order of one delivery.

source's thread -> inbox -> loop: executor -> provider calls, ledger, publisher -> loop -> source
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from bridge.domain.deliveries import published_at
from bridge.worker.admission import Admission
from bridge.worker.executor import Executor
from bridge.worker.flow_control import FlowControl
from bridge.worker.gauges import WorkerState
from bridge.worker.loop import WorkerLoop
from bridge.worker.parts import Machinery
from bridge.worker.provider_calls import ProviderCalls
from bridge.worker.publications import Publications
from bridge.worker.report import WorkerReport

if TYPE_CHECKING:
    from bridge.domain.messages import Delivery
    from bridge.ops.metrics import Metrics
    from bridge.ops.spans import CommandTracing
    from bridge.worker.flow_control import PausableSource
    from bridge.worker.parts import Lifecycle, WorkerOptions, WorkerPorts

#: For this many concurrent calls, one more submission is claimed and waits for the first call to end. The thread then
#: continues with it, rather than wait for a commit. More of them would leave more submissions in doubt after a crash.
CLAIMED_AHEAD = 16


class Worker:
    """Sends the commands of the command queue."""

    def __init__(
        self,
        ports: WorkerPorts,
        settings: WorkerOptions,
        lifecycle: Lifecycle,
        metrics: Metrics,
        tracing: CommandTracing | None = None,
    ) -> None:
        """Create a worker; `lifecycle.stopping` interrupts the gateway's waits."""
        self._ports = ports
        self._settings = settings
        self._clock = clock = ports.clock
        self._stopping = lifecycle.stopping
        report = WorkerReport(metrics)
        self._loop = WorkerLoop(
            ports.ledger, clock=clock, rules=settings.rules.ledger, metrics=metrics, lifecycle=lifecycle
        )
        self._calls = ProviderCalls(ports.gateway, settings.concurrency)
        limit = settings.concurrency + settings.concurrency // CLAIMED_AHEAD
        self._flow_control = FlowControl(self._calls, ports.publisher, clock, limit=limit)
        self._admission = Admission(settings.spare, self._flow_control, clock)
        machinery = Machinery(
            loop=self._loop,
            calls=self._calls,
            flow_control=self._flow_control,
            admission=self._admission,
            publications=Publications(ports.publisher, report, settings.rules, clock, tracing),
            report=report,
            received=metrics.commands,
        )
        self._executor = Executor(machinery, settings, clock)
        #: Deliveries that the loop has not received yet. Each connection has its own inbox, emptied when it is lost.
        self._inbox: deque[Delivery] = deque()

    # --- from other threads --------------------------------------------------------------------------------------

    def start(self, source: PausableSource) -> None:
        """Start processing what `source` delivers to `receive`."""
        self._executor.in_flight.start(source)
        self._flow_control.start(source, self._loop.post)
        self._calls.start()
        self._loop.open(self._executor)

    def stop(self, grace: float) -> bool:
        """Finish claims within `grace` seconds and requeue all else; returns whether everything was finished."""
        self._stopping.set()
        self._loop.post(self._executor.stop)
        finished = self._loop.wait_closed(grace)
        self._calls.stop()
        return finished

    def receive(self, delivery: Delivery) -> None:
        """Accept a delivery. Called on the source's thread; returns at once."""
        self._inbox.append(delivery)
        self._loop.post(partial(self._executor.receive, self._inbox))

    def lose(self) -> None:
        """Drop deliveries without a claim: the connection is lost. Called on the source's thread."""
        # Not on the loop: it may wait for the ledger while further connections are opened and lost.
        self._inbox.clear()
        self._inbox = deque()
        self._loop.post(self._executor.lose)

    @property
    def problem(self) -> str | None:
        """The reason why sending is stopped or limited at the moment; None if it is not."""
        return self._flow_control.problem or self._loop.problem

    @property
    def iterations(self) -> int:
        """The number of iterations of the loop; see `bridge.ops.progress`."""
        return self._loop.iterations

    @property
    def thread_id(self) -> int | None:
        """The native id of the loop's thread; None until it runs."""
        return self._loop.thread_id

    @property
    def breaker_is_open(self) -> bool:
        """Whether the circuit breaker is open: other parts should not call the provider either."""
        return self._flow_control.breaker_is_open

    def state(self) -> WorkerState:
        """Return a snapshot. Thread-safe, since each copy here is atomic."""
        in_flight, delivered = self._executor.in_flight.all, tuple(self._inbox)
        now = self._clock.now()
        deliveries = [*(execution.flow.received.delivery for execution in in_flight), *delivered]
        times = (published_at(delivery, now) for delivery in deliveries)
        return WorkerState(
            commands=len(deliveries),
            oldest_at=min((at for at in times if at is not None), default=None),
            limited=self._admission.limited,
            in_flight=self._flow_control.in_flight,
            breaker=self._flow_control.breaker,
            broker=self._ports.publisher.available,
            ledger=self._loop.problem is None,
            lost=self._executor.in_flight.is_clogged,
        )
