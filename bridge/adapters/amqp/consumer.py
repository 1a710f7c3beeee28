"""Takes commands off the queue, on a connection of its own, and settles them when told to.

The thread that owns the connection only reads, hands over and acks; work happens elsewhere. So heartbeats go out
however long the work takes, and only this thread touches the connection.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from bridge.adapters.amqp.connection_owner import ConnectionOwner
from bridge.adapters.amqp.connection_thread import ConnectionDown, ConnectionOptions
from bridge.adapters.amqp.consumer_health import ConsumerHealth, QueueReport
from bridge.adapters.amqp.deliveries import HeldDeliveries, reason_of_death
from bridge.adapters.amqp.topology import declare
from bridge.ports import Depth

if TYPE_CHECKING:
    from bridge.adapters.amqp.connection import Broker
    from bridge.adapters.amqp.ledger_identity import LedgerIdentity
    from bridge.adapters.amqp.topology import Topology
    from bridge.domain.messages import Delivery

#: Commands that the broker has given up, held at a time: few, beside those that are to be sent.
GIVEN_UP_PREFETCH = 10
#: Seconds between two looks whether the broker still has us as a consumer.
WATCH = 2.0
#: Seconds that the broker may take to end a consumer before another connection is worth more than this one.
ENDING = 15.0


class Receiver(Protocol):
    """Takes what is delivered, on the connection's thread; it must not block."""

    def receive(self, delivery: Delivery) -> None:
        """Take a delivery."""
        ...

    def lose(self) -> None:
        """Take note that what was received so far and not settled is the broker's again."""
        ...


class AmqpConsumer(ConnectionOwner):
    """Fills the port `CommandSource`."""

    def __init__(
        self,
        connection: ConnectionOptions,
        receiver: Receiver,
        topology: Topology,
        *,
        prefetch: int,
        declares: bool = True,
        identity: LedgerIdentity | None = None,
    ) -> None:
        """`identity` is the ledger that the command queue must have; None for any."""
        super().__init__(connection)
        #: See `bridge.ports.CommandSource`.
        self.flush = self._connection.flush
        self._receiver = receiver
        self._topology = topology
        self._declares = declares
        self._identity = identity
        self._prefetch = prefetch
        #: Deliveries belong to the connection they came on: its number is half of their tag.
        self._connection_number = 0
        self._settlements: deque[tuple[Delivery, bool]] = deque()
        #: For each queue, since nothing is answered on a channel while a queue of it has no leader; and for looks.
        self._channel: Any = None
        self._given_up_channel: Any = None
        self._looking: Any = None
        #: Our consumers of commands by their tags, each with its own prefetch: two while one makes up for a pause.
        self._consumers: dict[str, int] = {}
        #: The tag of our consumer of what the broker gives up.
        self._given_up: str | None = None
        self._numbers = itertools.count(1)
        #: The tags of those that the broker is to end and has not ended: deliveries may still come of them.
        self._ending: set[str] = set()
        self._ended_since = 0.0
        self._wanted = True
        #: What is held of each queue.
        self._held, self._held_given_up = self._hold(None, None)
        #: When to look whether we are still a consumer, and what the looks said.
        self._look_at = 0.0
        self._health = ConsumerHealth()
        self._depth: Depth | None = None

    def pause(self) -> None:
        """Take no more commands; what was delivered stays to be settled."""
        self._wanted = False
        self._connection.wake()

    def resume(self) -> None:
        """Take commands again."""
        self._wanted = True
        self._connection.wake()

    def compare_again(self) -> None:
        """Have the ledger compared with the broker again: it has moved. From any thread; returns at once."""
        if self._identity is not None:
            self._identity.moved()
            self._connection.wake()

    def ack(self, delivery: Delivery) -> None:
        """Take a command off the queue; see `bridge.ports.CommandSource`."""
        self._settle(delivery, acked=True)

    def requeue(self, delivery: Delivery) -> None:
        """Put a command back on the queue."""
        self._settle(delivery, acked=False)

    @property
    def consuming(self) -> bool:
        """Whether the broker has us as a consumer of the queue, as far as it says."""
        return bool(self._consumers) and not self._health.is_unseen(self._clock.monotonic())

    @property
    def depth(self) -> Depth | None:
        """The depth of the queue, at most `WATCH` seconds old; None while it is not known."""
        return self._depth

    def _settle(self, delivery: Delivery, *, acked: bool) -> None:
        self._settlements.append((delivery, acked))
        self._connection.unflushed = True

    # --- the link's thread ---------------------------------------------------------------------------------------

    def opened(self, broker: Broker) -> None:
        """Declare, compare ledgers, and be ready to consume."""
        if self._declares:
            declare(broker, self._topology, compares=self._connection_number == 0)
        if self._identity is not None:
            self._identity.compare(broker, self._topology, declares=self._declares)
        self._connection_number += 1
        self._channel, self._given_up_channel, self._looking = (broker.channel() for _ in range(3))
        self._held, self._held_given_up = self._hold(self._channel, self._given_up_channel)
        self._health, self._look_at = ConsumerHealth(), self._clock.monotonic() + WATCH
        self._follow(broker)

    def work(self, broker: Broker) -> None:
        """Settle, then consume or not, as wanted."""
        if self._settlements:
            self._settle_all()
        self._follow(broker)
        if self._identity is not None and self._identity.is_due:
            self._identity.compare_again(broker, self._topology, declares=self._declares)
        if self._clock.monotonic() >= self._look_at:
            self._look_at = self._clock.monotonic() + WATCH
            broker.ask_about(self._looking, self._topology.command_queue, self._watch)
            if self._identity is not None:
                self._identity.ask(broker)

    def _settle_all(self) -> None:
        commands, given_up = [], []
        while self._settlements:
            delivery, is_ack = self._settlements.popleft()
            connection_number, tag = delivery.tag
            if connection_number != self._connection_number:
                # Its connection is gone and the broker has it back: this tag means another message now.
                continue
            if delivery.given_up is None:
                commands.append((tag, is_ack))
            else:
                given_up.append((tag, is_ack))
        if commands:
            self._held.settle(commands)
        if given_up:
            self._held_given_up.settle(given_up)

    def lost(self) -> None:
        """Forget the consumers; the broker gives their deliveries to others."""
        self._channel = self._given_up_channel = self._looking = self._depth = None
        self._consumers.clear()
        self._ending.clear()
        self._given_up = None
        self._receiver.lose()

    def _follow(self, broker: Broker) -> None:
        """Be a consumer or not, as wanted."""
        if self._ending:
            if self._wanted and self._clock.monotonic() - self._ended_since > ENDING:
                raise ConnectionDown("the broker does not end the consumer that was paused")
            return
        if self._wanted:
            self._consume()
        elif self._consumers:
            # Nothing waits for the broker's answer: it comes when the queue has a leader.
            self._ended_since = self._clock.monotonic()
            self._ending.update(self._consumers)
            for tag in self._consumers:
                broker.end_consumer(self._channel, tag, self._on_ended)
            if self._given_up is not None:
                self._ending.add(self._given_up)
                broker.end_consumer(self._given_up_channel, self._given_up, self._on_ended)

    def _on_ended(self, tag: str) -> None:
        """Take note that nothing more comes of a consumer that was to be ended."""
        self._ending.discard(tag)
        if tag == self._given_up:
            self._given_up = None
            return
        del self._consumers[tag]
        if not self._consumers:
            self._held.consumers_ended()

    def _consume(self) -> None:
        """Have the broker hand out as many as there is room for.

        It counts for each consumer by itself, and for none what was delivered before a pause: that is what is counted
        here. So the next consumer has the room that is left, half of all at least, and is joined by one with the rest
        once that is free.
        """
        capacity = self._prefetch - self._bound
        if 2 * capacity >= self._prefetch or (capacity and not self._held.over):
            # Per consumer, not global: RabbitMQ 4.3 refuses that.
            self._channel.basic_qos(0, capacity, a_global=False)
            tag = self._channel.basic_consume(
                self._topology.command_queue, callback=self._held.take, on_cancel=self._on_cancel
            )
            self._consumers[tag] = capacity
        if self._given_up is None:
            # Without waiting, as its queue is not what a worker lives on.
            self._given_up = f"given-up-{next(self._numbers)}"
            self._given_up_channel.basic_qos(0, GIVEN_UP_PREFETCH, a_global=False)
            self._given_up_channel.basic_consume(
                self._topology.given_up_queue,
                consumer_tag=self._given_up,
                nowait=True,
                callback=self._held_given_up.take,
                on_cancel=self._on_cancel,
            )

    @property
    def _bound(self) -> int:
        """How many may be held by now."""
        return self._held.over + sum(self._consumers.values())

    def _watch(self, queue: str, messages: int, consumers: int) -> None:
        """Start over when the broker has forgotten our consumer without a word."""
        self._depth = Depth(messages, consumers)
        report = QueueReport(
            at=self._clock.monotonic(),
            messages=messages,
            consumers=consumers,
            delivered=self._held.delivered,
            has_capacity=len(self._held) < self._bound,
            consuming=bool(self._consumers),
        )
        if self._health.is_forgotten(report):
            raise ConnectionDown(f"the broker has forgotten the consumer of {queue}")

    def _hold(self, commands: Any, given_up: Any) -> tuple[HeldDeliveries, HeldDeliveries]:
        number = self._connection_number
        return (
            HeldDeliveries(commands, self._receiver.receive, number),
            HeldDeliveries(given_up, self._on_given_up, number),
        )

    def _on_given_up(self, delivery: Delivery) -> None:
        reason = reason_of_death(delivery.headers, self._topology.command_queue)
        # Whether a worker had it before is not known, so it counts as redelivered.
        self._receiver.receive(replace(delivery, redelivered=True, given_up=reason))

    def _on_cancel(self, consumer_tag: str) -> None:
        """Start over when the broker ends our consumer: the queue was deleted, or has moved."""
        queue = (
            self._topology.given_up_queue if consumer_tag == self._given_up else self._topology.command_queue
        )
        self._consumers.pop(consumer_tag, None)
        raise ConnectionDown(f"the broker ended the consumer of {queue}")
