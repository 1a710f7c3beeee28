"""The dead-letter queue on the command line: read without taking anything off it, sent back, or thrown away.

Each letter is got and held; what is not taken off goes back when the connection closes. RabbitMQ puts what goes back at
the head of a quorum queue, counts a delivery for it and may change its order; meanwhile no other consumer sees it. As
many are got as lay there at the start, at most: a command that dies again right after its replay waits for the next
time.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bridge.adapters.amqp.deliveries import delivery_of
from bridge.adapters.amqp.short_connection import ConfirmedPublishing, connected

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import amqp

    from bridge.adapters.amqp.connection import Broker
    from bridge.adapters.amqp.handshake import BrokerAddress
    from bridge.adapters.amqp.topology import Topology
    from bridge.domain.messages import Delivery, Outgoing
    from bridge.ports import Clock

#: Seconds between heartbeats at least: the output may be read through a pager, slowly.
TIMEOUT = 600.0
#: Letters that one consumer holds; without a number RabbitMQ stops at 2,000.
PREFETCH = 50_000
#: Seconds without another letter after which the queue counts as read.
SILENCE = 3.0


class DeadLetters:
    """The dead-letter queue. Bodies are held one at a time, however many there are.

    All raise ConnectionError where the broker is not reachable, refuses, or falls silent. Their iterators hold the
    connection: close them, or read them to the end.
    """

    def __init__(self, address: BrokerAddress, topology: Topology, clock: Clock) -> None:
        self._address = replace(address, heartbeat=max(address.heartbeat, TIMEOUT))
        self._queue = topology.dead_queue
        self._clock = clock

    def read(self) -> Generator[Delivery, None, None]:
        """Yield all that lie there, and leave them there."""
        with self._opened() as (broker, channel):
            yield from self._pushed(broker, channel)

    def send_back(
        self, copy_of: Callable[[Delivery], Outgoing | None], confirmed: Callable[[], None] = lambda: None
    ) -> Generator[Delivery, None, None]:
        """Publish what `copy_of` makes of each, those of None aside; yield each once it is off the queue.

        A letter is taken off after its copy is confirmed. Between the two, when `confirmed` runs, both are there.
        """
        with self._opened() as (broker, channel):
            publishing = ConfirmedPublishing(broker, self._clock)
            for letter in self._letters(channel):
                copy = copy_of(letter)
                if copy is not None:
                    # What no AMQP library can write stays behind, as in all copies that the bridge makes.
                    publishing.publish(copy)
                    confirmed()
                    channel.basic_ack(letter.tag[1])
                    yield letter

    def delete(self, is_meant: Callable[[Delivery], bool]) -> Generator[Delivery, None, None]:
        """Take those off the queue that are meant, for good; yield each."""
        with self._opened() as (_, channel):
            for letter in self._letters(channel):
                if is_meant(letter):
                    channel.basic_ack(letter.tag[1])
                    yield letter

    @contextmanager
    def _opened(self) -> Iterator[tuple[Broker, Any]]:
        with connected(self._address) as broker:
            yield broker, broker.channel()

    def _pushed(self, broker: Broker, channel: Any) -> Iterator[Delivery]:
        """Have the broker push them, much faster than asking for each; what is not read yet waits in the socket."""
        waiting = channel.queue_declare(self._queue, passive=True).message_count
        arrived: deque[amqp.Message] = deque()
        channel.basic_qos(0, PREFETCH, a_global=False)
        for number in range(waiting):
            if number % PREFETCH == 0:
                # The one before holds as many as it may.
                channel.basic_consume(self._queue, callback=arrived.append)
            while not arrived:
                if not broker.readable(SILENCE):
                    return
                broker.connection.blocking_read()
            yield delivery_of(arrived.popleft())

    def _letters(self, channel: Any) -> Iterator[Delivery]:
        """Ask for one after the other."""
        waiting = channel.queue_declare(self._queue, passive=True).message_count
        for _ in range(waiting):
            message = channel.basic_get(self._queue)
            if message is None:
                return
            yield delivery_of(message)
