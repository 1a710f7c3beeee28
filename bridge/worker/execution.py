"""A delivery that a worker has in hand: its steps, and what it waits for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.domain.messages import Delivery
    from bridge.ports import CommandSource, Span
    from bridge.worker.actions import Action, Steps
    from bridge.worker.delivery import CommandDelivery


class Branch:
    """One line of a delivery's steps: its main one, or that of a submission."""

    __slots__ = ("execution", "has_waited", "index", "owner", "steps", "until", "waits_for")

    def __init__(self, execution: Execution, steps: Steps[None]) -> None:
        self.execution = execution
        self.steps = steps
        #: Of the submission that it claims.
        self.index = 0
        #: Names its claim.
        self.owner = ""
        #: How long calls may run for its claim (`Clock.monotonic` seconds).
        self.until = 0.0
        #: Whether its slot of the rate limit has come: it goes first.
        self.has_waited = False
        #: The action that it waits with, where it does.
        self.waits_for: Action | None = None


class Execution:
    """One delivery. Owned by the loop's thread."""

    __slots__ = ("awaits_confirms", "flow", "forked", "lost", "main", "span", "unconfirmed")

    def __init__(self, flow: CommandDelivery) -> None:
        self.flow = flow
        self.main = Branch(self, flow.steps())
        #: Branches that have not ended.
        self.forked = 0
        #: Messages that the broker has not confirmed.
        self.unconfirmed = 0
        self.awaits_confirms = False
        #: Whether the broker has the delivery back, since the connection that it came by was lost.
        self.lost = False
        #: Its part of the trace, where there is one.
        self.span: Span | None = None

    def trace(self, span: Span) -> None:
        """Have all that comes of it belong to `span`."""
        self.span = span
        self.flow.received = replace(self.flow.received, traceparent=span.traceparent)


class InFlight:
    """The deliveries that are not acknowledged. On the loop's thread, except `all`."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._executions: set[Execution] = set()
        #: Those that came by connections that were lost.
        self.lost: set[Execution] = set()
        self._source: CommandSource | None = None
        #: Whether one was acknowledged or put back since the last flush.
        self.unflushed = False

    def start(self, source: CommandSource) -> None:
        """Acknowledge with `source` from now on."""
        self._source = source

    @property
    def is_clogged(self) -> bool:
        """Whether more of them came by lost connections than can be sent at once: confirms are missing."""
        return len(self.lost) > self._concurrency

    @property
    def all(self) -> tuple[Execution, ...]:
        """All of them. From any thread: the copy is one step of the interpreter."""
        return tuple(self._executions)

    def add(self, execution: Execution) -> None:
        """Take one in hand."""
        self._executions.add(execution)

    def lose(self) -> None:
        """Take note that the broker has them all back."""
        for execution in self._executions:
            execution.lost = True
        self.lost |= self._executions

    def settle(self, execution: Execution, *, requeue: bool) -> None:
        """Acknowledge a delivery, or put it back; where its connection was lost, the source does neither."""
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
        """Put a delivery back on the queue."""
        self.unflushed = True
        self._started.requeue(delivery)

    def flush(self) -> None:
        """Have the broker learn now what was settled."""
        self.unflushed = False
        self._started.flush()

    @property
    def _started(self) -> CommandSource:
        assert self._source is not None  # noqa: S101 - set by `start`
        return self._source
