"""The ports to the broker: publishers of messages, and the source of commands."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.messages import Delivery, Outgoing


class PublisherFull(Exception):
    """The publisher has as many unconfirmed messages as it may."""


class Publisher(Protocol):
    """A publisher that repeats each message until the broker confirms it."""

    def publish(self, message: Outgoing, confirmed: Callable[[], None], *, soon: bool = True) -> None:
        """Buffer `message`, and call `confirmed` once the broker confirms it, its fallback has it, or it is dropped.

        Without `soon` the message is written by the next `flush`, which saves the system call that wakes the publisher.

        Returns at once; `confirmed` runs on the publisher's own thread and must not block. A lost connection, a nack or
        a frozen broker only delays `confirmed`: the same bytes are published again until they are confirmed. Only a
        message that is `droppable` may be dropped.

        Raises:
            PublisherFull: too many messages are unconfirmed; this one was not buffered.

        """
        ...

    def flush(self) -> None:
        """Write the buffered messages now. Only the thread that publishes without `soon` may call it."""
        ...

    @property
    def available(self) -> bool:
        """Whether the broker accepts messages now: connected, not blocked by an alarm, and no confirm is late."""
        ...

    @property
    def out_of_service(self) -> bool:
        """Whether the broker has been unavailable for longer than a leader election or a reconnect takes."""
        ...


class OneShotResult(Enum):
    """The result of a one-shot publish."""

    #: The broker has confirmed the message, and a queue has it.
    TAKEN = auto()
    #: No queue is bound for the message; the broker has dropped it.
    UNROUTABLE = auto()
    #: Not confirmed: it is not known whether the broker has the message.
    NOT_TAKEN = auto()


class OneShotPublisher(Protocol):
    """A publisher for callers that wait for the result: a message that is not confirmed in time is not repeated."""

    def publish_once(
        self, message: Outgoing, answered: Callable[[OneShotResult], None], *, until: float
    ) -> None:
        """Publish `message` once, and call `answered` with the result.

        A message that was not written by `until` (`Clock.monotonic` seconds) is not written later; `answered` may be
        called after `until`. Returns at once; `answered` is called once, on any thread, and must not block.
        """
        ...

    @property
    def available(self) -> bool:
        """Whether the broker accepts messages now."""
        ...


class Depth(NamedTuple):
    """The number of ready messages and of consumers of a queue."""

    #: Messages that are not delivered to a consumer.
    ready: int
    consumers: int


class CommandSource(Protocol):
    """The source of commands. Every delivery is settled once: acknowledged or requeued.

    A source that loses its connection loses its deliveries, and reports that before it delivers anything else. The
    broker redelivers those that were not settled, here or to another worker; settling them has no effect any more.

    Settlements reach the broker with the next `flush`, or within a second. Only one thread settles.
    """

    def ack(self, delivery: Delivery) -> None:
        """Acknowledge the command: its effect is durable elsewhere."""
        ...

    def requeue(self, delivery: Delivery) -> None:
        """Requeue the command, for another worker or a later time."""
        ...

    def flush(self) -> None:
        """Write the settlements to the broker now."""
        ...
