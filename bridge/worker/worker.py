"""The worker: sends what the command queue holds. `bridge.worker.delivery` has the order of one delivery.

source's thread -> inbox -> loop: executor -> provider calls, ledger, publisher -> loop -> source
"""

from __future__ import annotations

import uuid
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from bridge.domain.deliveries import published_at
from bridge.worker.admission import Admission
from bridge.worker.delivery import CommandDelivery
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
    from bridge.ops.tracing import CommandTracing
    from bridge.worker.flow_control import PausableSource
    from bridge.worker.parts import Lifecycle, WorkerPorts, WorkerSettings

#: Seconds between two looks at the flow control while commands wait for it.
POLL = 0.1
#: Of so many calls that may run, one more is claimed, and waits for the first of them to end: a thread then goes on
#: with it, where it would wait for a commit. More would be more that a crash leaves in doubt.
CLAIMED_AHEAD = 16
ORPHANED = "the broker has commands back whose outcomes are not published yet"


class Worker:
    """Sends what the queue holds."""

    def __init__(
        self,
        ports: WorkerPorts,
        settings: WorkerSettings,
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
        self._admission = Admission(settings.spare)
        machinery = Machinery(
            loop=self._loop,
            calls=self._calls,
            flow_control=self._flow_control,
            admission=self._admission,
            publications=Publications(ports.publisher, report, settings.rules, clock, tracing),
            report=report,
        )
        self._executor = Executor(machinery, settings, clock)
        #: Deliveries that the loop has not seen yet. Each connection has its own queue, emptied when that is lost.
        self._inbox: deque[Delivery] = deque()

    # --- from other threads --------------------------------------------------------------------------------------

    def start(self, source: PausableSource) -> None:
        """Begin to work on what `source` delivers to `receive`."""
        self._executor.in_hand.start(source)
        self._flow_control.start(source, self._loop.post)
        self._calls.start()
        self._loop.open(self)

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
        self._loop.post(partial(self._on_received, self._inbox))

    def lose(self) -> None:
        """Forget what was delivered so far and has no claim: the broker has it back. From the source's thread."""
        # At once: the loop may be waiting for the ledger, and connections may come and go meanwhile.
        self._inbox.clear()
        self._inbox = deque()
        self._loop.post(self._executor.lose)

    @property
    def trouble(self) -> str | None:
        """Why nothing is sent at the moment, where that is so."""
        return self._flow_control.trouble or self._loop.trouble

    @property
    def rounds(self) -> int:
        """How often the loop went round; see `bridge.ops.progress`."""
        return self._loop.rounds

    @property
    def thread_id(self) -> int | None:
        """The native id of the thread that works most, once it runs."""
        return self._loop.thread_id

    @property
    def shut(self) -> bool:
        """Whether no call is admitted: nothing else should make one either."""
        return self._flow_control.shut

    def state(self) -> WorkerState:
        """Return how it stands. From any thread: each of the copies here is one step of the interpreter."""
        in_hand, delivered = self._executor.in_hand.all, tuple(self._inbox)
        now = self._clock.now()
        deliveries = [*(execution.flow.received.delivery for execution in in_hand), *delivered]
        times = (published_at(delivery, now) for delivery in deliveries)
        return WorkerState(
            commands=len(deliveries),
            oldest_at=min((at for at in times if at is not None), default=None),
            limited=self._admission.limited,
            under_way=self._flow_control.under_way,
            gate=self._flow_control.gate,
            broker=self._ports.publisher.available,
            ledger=self._loop.trouble is None,
            orphaned=self._executor.in_hand.orphaned > self._settings.concurrency,
        )

    # --- on the loop's thread ------------------------------------------------------------------------------------

    def begin_round(self) -> None:
        """Pause or resume the source, and probe the provider, where either is due."""
        if not self._stopping.is_set():
            has_too_many = self._executor.in_hand.orphaned > self._settings.concurrency
            self._flow_control.update(ORPHANED if has_too_many else None)

    def go_on(self) -> None:
        """Claim what may be sent now, then have everything go out that was published or acknowledged."""
        self._executor.go_on()

    def on_ledger_unavailable(self) -> None:
        """Pause the source: without the ledger no command can be claimed. The next round resumes it."""
        self._flow_control.update(self._loop.trouble)

    def patience(self) -> float:
        """Return the seconds until there may be something to do even if nothing happens."""
        is_held_up = self._admission.asking and not self._flow_control.has_room()
        if self._stopping.is_set() or self._flow_control.paused or is_held_up:
            return POLL
        if not self._admission.waiting:
            return 1.0
        return min(1.0, max(0.0, self._admission.waiting[0][0] - self._clock.now()))

    def clock_set(self, step: float) -> None:
        """Wait as long as before; see `bridge.worker.loop.Work`."""
        self._executor.clock_set(step)

    def done(self) -> bool:
        """Whether a stop has nothing left to finish."""
        return self._stopping.is_set() and not self._executor.in_hand.all

    def _on_received(self, inbox: deque[Delivery]) -> None:
        try:
            delivery = inbox.popleft()
        except IndexError:
            # Its connection was lost meanwhile.
            return
        if self._stopping.is_set():
            self._executor.in_hand.refuse(delivery)
            return
        flow = CommandDelivery(delivery, self._settings.rules, now=self._clock.now(), new_id=_new_id)
        self._executor.begin(flow)


def _new_id() -> str:
    return str(uuid.uuid4())
