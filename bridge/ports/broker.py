"""What the broker takes and gives: messages out, commands in, and commands that somebody hands over."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.messages import Delivery, Outgoing


class PublisherFull(Exception):
    """The publisher holds as much unconfirmed as it may."""


class Publisher(Protocol):
    """Publishes and says when the broker has it."""

    def publish(self, message: Outgoing, confirmed: Callable[[], None], *, soon: bool = True) -> None:
        """Take `message` and call `confirmed` once it is confirmed, taken by its fallback, or dropped as it allows.

        Where it need not be `soon`, the next `flush` will do: to wake the publisher is a system call.

        Returns at once; `confirmed` runs on the publisher's own thread and must not block. A lost connection, a nack or
        a frozen broker only delays `confirmed`: the message is published again, byte for byte, until it is confirmed.

        Raises:
            PublisherFull: too much is unconfirmed; nothing was taken.

        """
        ...

    def flush(self) -> None:
        """Have what was taken written now. From one thread alone, the one that publishes what need not be soon."""
        ...

    @property
    def available(self) -> bool:
        """Whether the broker takes messages now: connected, not blocked by an alarm, and no confirm is late."""
        ...

    @property
    def out_of_service(self) -> bool:
        """Whether the broker takes none, and more than an election or the way to another node is the reason."""
        ...


class OneShotResult(Enum):
    """What became of a message that was offered."""

    #: The broker has confirmed it, and a queue has it.
    TAKEN = auto()
    #: The broker has no queue for it, and does not have it.
    UNROUTABLE = auto()
    #: Not confirmed: the broker does not have it, or nobody can tell.
    NOT_TAKEN = auto()


class OneShotPublisher(Protocol):
    """Publishes once, for who waits for the answer: what is not confirmed in time is not published later."""

    def publish_once(
        self, message: Outgoing, answered: Callable[[OneShotResult], None], *, until: float
    ) -> None:
        """Publish `message`, and call `confirmed` once its fate is certain or can't be learnt.

        What was not written by `until` (`Clock.monotonic` seconds) never will be; `confirmed` may come later than that.
        Returns at once; `confirmed` runs on any thread, once, and must not block.
        """
        ...

    @property
    def available(self) -> bool:
        """Whether the broker takes messages now."""
        ...


class Depth(NamedTuple):
    """What waits on a queue, and how many wait for it."""

    #: Messages that were delivered to nobody.
    ready: int
    consumers: int


class CommandSource(Protocol):
    """Where commands come from. Every delivery is settled once: acked or given back.

    A source may lose what it has delivered, with its connection. It says so before it delivers anything else; all that
    was not settled comes again, here or at another worker, and settling it has no effect any more.

    What is settled reaches the broker with the next `flush`, or within a second. One thread settles.
    """

    def ack(self, delivery: Delivery) -> None:
        """Take the command off the queue: its effect is durable elsewhere."""
        ...

    def requeue(self, delivery: Delivery) -> None:
        """Put the command back on the queue, for another worker or a later time."""
        ...

    def flush(self) -> None:
        """Have the broker learn now what was settled."""
        ...
