"""A delivery that a worker has in hand: its steps, and what it waits for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.ports import Span
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
