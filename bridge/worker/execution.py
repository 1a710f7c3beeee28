"""The execution of a delivery in flight: its branches and their state."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.domain.messages import Delivery
    from bridge.ports import CommandSource, Span
    from bridge.worker.actions import Action, Steps
    from bridge.worker.delivery import CommandDelivery


class Branch:
    """One sequence of a delivery's steps: the main one, or that of a submission."""

    __slots__ = ("execution", "has_waited", "index", "owner", "steps", "until", "waits_for")

    def __init__(self, execution: Execution, steps: Steps[None]) -> None:
        self.execution = execution
        self.steps = steps
        #: The index of the submission that it claims.
        self.index = 0
        #: The unique name of its claim.
        self.owner = ""
        #: The end of the time for calls under its claim (`Clock.monotonic` seconds).
        self.until = 0.0
        #: Whether it has waited for its rate limit, so that it is claimed first.
        self.has_waited = False
        #: The action for whose result it waits in the admission queue, if any.
        self.waits_for: Action | None = None


class Execution:
    """One delivery in flight. Owned by the loop's thread."""

    __slots__ = ("awaits_confirms", "flow", "forked", "lost", "main", "span", "unconfirmed")

    def __init__(self, flow: CommandDelivery) -> None:
        self.flow = flow
        self.main = Branch(self, flow.steps())
        #: Branches that have not ended.
        self.forked = 0
        #: The number of messages that the broker has not confirmed.
        self.unconfirmed = 0
        self.awaits_confirms = False
        #: Whether the broker has requeued the delivery, because its connection was lost.
        self.lost = False
        #: The span of the delivery, if it is traced.
        self.span: Span | None = None

    def trace(self, span: Span) -> None:
        """Make `span` the parent of everything that follows from the delivery."""
        self.span = span
        self.flow.received = replace(self.flow.received, traceparent=span.traceparent)


class InFlight:
    """The deliveries that are not acknowledged. Used on the loop's thread, except `all`."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._executions: set[Execution] = set()
        #: The deliveries of connections that were lost.
        self.lost: set[Execution] = set()
        self._source: CommandSource | None = None
        #: Whether a delivery was acknowledged or requeued since the last flush.
        self.unflushed = False

    def start(self, source: CommandSource) -> None:
        """Acknowledge with `source` from now on."""
        self._source = source

    @property
    def is_clogged(self) -> bool:
        """Whether more deliveries are lost than can be sent at once: confirms are missing."""
        return len(self.lost) > self._concurrency

    @property
    def all(self) -> tuple[Execution, ...]:
        """All deliveries. Thread-safe, since copying a set is atomic."""
        return tuple(self._executions)

    def add(self, execution: Execution) -> None:
        """Add a delivery."""
        self._executions.add(execution)

    def lose(self) -> None:
        """Mark all deliveries as lost: the broker has requeued them."""
        for execution in self._executions:
            execution.lost = True
        self.lost |= self._executions

    def settle(self, execution: Execution, *, requeue: bool) -> None:
        """Acknowledge or requeue a delivery; the source does neither if its connection was lost."""
        self._executions.discard(execution)
        self.lost.discard(execution)
        if execution.span is not None:
            execution.span.end({"sms_bridge.requeued": requeue or execution.lost})
        delivery = execution.flow.received.delivery
        if requeue:
            self.refuse(delivery)
        else:
            self.unflushed = True
            self._started.ack(delivery)

    def refuse(self, delivery: Delivery) -> None:
        """Requeue a delivery."""
        self.unflushed = True
        self._started.requeue(delivery)

    def flush(self) -> None:
        """Send the acknowledgements and requeues to the broker."""
        self.unflushed = False
        self._started.flush()

    @property
    def _started(self) -> CommandSource:
        assert self._source is not None  # noqa: S101 - set by `start`
        return self._source
