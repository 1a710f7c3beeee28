"""A delivery on its way through the worker."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.core.addresses import DEFAULT_SENDER
from bridge.core.commands import SendSms
from bridge.core.shown_ids import shown_id
from bridge.ports import Submission

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.flows.commands import Received
    from bridge.ports import Delivery, Span


#: Seconds that a command may have waited, and that a publisher's clock may be ahead of ours, to be believed.
OLDEST = 366 * 86_400.0
AHEAD = 300.0


class Job:
    """What the desk knows of a delivery: which of its submissions are open, and what is not yet told."""

    __slots__ = (
        "closed",
        "conflicting",
        "generation",
        "given_back",
        "open",
        "received",
        "span",
        "untold",
        "waits",
        "waits_itself",
    )

    def __init__(self, received: Received, submissions: int) -> None:
        self.received = received
        #: Submissions that have not come as far as they do this time.
        self.open = submissions
        #: The generation it carries; a new one once it has taken the place of a copy that never came.
        self.generation = received.generation
        #: When to look again at which submission, in seconds since the epoch.
        self.waits: dict[int, float] = {}
        #: Whether one of them waits for this delivery, rather than for what another one holds.
        self.waits_itself = False
        #: Messages that the broker has not confirmed.
        self.untold = 0
        self.conflicting = False
        #: Whether it goes back to the queue rather than off it.
        self.given_back = False
        self.closed = False
        #: Its part of the trace, where there is one.
        self.span: Span | None = None

    def trace(self, span: Span) -> None:
        """Have all that comes of it belong to `span`."""
        self.span = span
        self.received = replace(self.received, traceparent=span.traceparent)

    def read_anew(self, received: Received, submissions: int) -> None:
        """Have it say what it does by other rules, with as many submissions."""
        self.received = replace(received, traceparent=self.received.traceparent)
        self.open = submissions

    def wait(self, index: int, at: float, *, itself: bool) -> None:
        """Look again at a submission at `at`."""
        self.waits[index] = at
        self.waits_itself = self.waits_itself or itself

    @property
    def command(self) -> SendSms:
        """The command; only a valid one has submissions to ask for it."""
        assert isinstance(self.received.parsed, SendSms)  # noqa: S101
        return self.received.parsed

    @property
    def command_id(self) -> str:
        """The command's id, made up where it had none."""
        assert self.command.id is not None  # noqa: S101
        return self.command.id

    @property
    def shown_id(self) -> str | None:
        """The command's id as a log may have it, of an invalid command too."""
        return shown_id(self.received.parsed)

    def submission(self, index: int) -> Submission:
        """Return one of its submissions as it goes to the provider."""
        command = self.command
        return Submission(
            command_id=command.id,
            index=index,
            destination_address=command.destinations[index].wire,
            sender_address=command.sender.wire,
            message=command.message,
            traceparent=self.received.traceparent,
            expires_at=command.expires_at,
        )

    def sought(self, index: int) -> Submission:
        """Return one of its submissions as it is looked for, with any sender where the command does not name one."""
        submission = self.submission(index)
        return submission if self.command.names_sender else replace(submission, sender_address=DEFAULT_SENDER)

    def due_at(self, now: float) -> float | None:
        """Return when it was to go out: in seconds since the epoch, published and its `send_at` past."""
        times = (published_at(self.received.delivery, now), self.command.send_at)
        return max((at for at in times if at is not None), default=None)


def published_at(delivery: Delivery, now: float) -> float | None:
    """Return when a command was published, in seconds since the epoch; None where its publisher did not say so.

    AMQP's `timestamp` is in seconds (AMQP 0-9-1 section 4.2.5.4). A zero, milliseconds, or a clock that is far off say
    nothing: by one such command the metrics would show an age of decades.
    """
    timestamp = delivery.properties.get("timestamp")
    if not isinstance(timestamp, int) or not now - OLDEST <= timestamp <= now + AHEAD:
        return None
    return float(timestamp)


def oldest_of(deliveries: Iterable[Delivery], now: float) -> float | None:
    """Return when the oldest of some commands was published, as far as their publishers said so."""
    times = (published_at(delivery, now) for delivery in deliveries)
    return min((at for at in times if at is not None), default=None)
