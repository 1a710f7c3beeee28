"""The worker: sends what the command queue holds. `bridge.worker.delivery` has the order of one delivery.

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

#: Of so many calls that may run, one more is claimed, and waits for the first of them to end: a thread then goes on
#: with it, where it would wait for a commit. More would be more that a crash leaves in doubt.
CLAIMED_AHEAD = 16


class Worker:
    """Sends what the queue holds."""

    def __init__(
        self,
        ports: WorkerPorts,
        settings: WorkerOptions,
        lifecycle: Lifecycle,
        metrics: Metrics,
        tracing: CommandTracing | None = None,
    ) -> None:
        """Make a worker; `lifecycle.stopping` cuts the gateway's waits short."""
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
        #: Deliveries that the loop has not seen yet. Each connection has its own queue, emptied when that is lost.
        self._inbox: deque[Delivery] = deque()

    # --- from other threads --------------------------------------------------------------------------------------

    def start(self, source: PausableSource) -> None:
        """Begin to work on what `source` delivers to `receive`."""
        self._executor.in_flight.start(source)
        self._flow_control.start(source, self._loop.post)
        self._calls.start()
        self._loop.open(self._executor)

    def stop(self, grace: float) -> bool:
        """Finish what is in flight within `grace` seconds, put the rest back; returns whether all was finished."""
        self._stopping.set()
        self._loop.post(self._executor.stop)
        finished = self._loop.wait_closed(grace)
        self._calls.stop()
        return finished

    def receive(self, delivery: Delivery) -> None:
        """Take a delivery. From the source's thread; returns at once."""
        self._inbox.append(delivery)
        self._loop.post(partial(self._executor.receive, self._inbox))

    def lose(self) -> None:
        """Forget what was delivered so far and has no claim: the broker has it back. From the source's thread."""
        # At once: the loop may be waiting for the ledger, and connections may come and go meanwhile.
        self._inbox.clear()
        self._inbox = deque()
        self._loop.post(self._executor.lose)

    @property
    def problem(self) -> str | None:
        """Why nothing is sent at the moment, where that is so."""
        return self._flow_control.problem or self._loop.problem

    @property
    def iterations(self) -> int:
        """How often the loop went round; see `bridge.ops.progress`."""
        return self._loop.iterations

    @property
    def thread_id(self) -> int | None:
        """The native id of the thread that works most, once it runs."""
        return self._loop.thread_id

    @property
    def breaker_is_open(self) -> bool:
        """Whether no call is admitted: nothing else should make one either."""
        return self._flow_control.breaker_is_open

    def state(self) -> WorkerState:
        """Return how it stands. From any thread: each of the copies here is one step of the interpreter."""
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
