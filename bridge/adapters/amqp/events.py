"""Takes events off a queue of one's own, on a connection with a thread of its own (SPEC section 3.2).

The queue is a quorum queue, bound to the events exchange. What is rejected goes to a queue beside it, by an exchange of
its own rather than the default one, since a right to publish to that is a right to publish to every queue.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from amqp.exceptions import AccessRefused, NotFound, PreconditionFailed

from bridge.adapters.amqp.connection_owner import ConnectionOwner
from bridge.adapters.amqp.connection_thread import ConnectionDown, ConnectionOptions
from bridge.adapters.amqp.deliveries import delivery_of
from bridge.adapters.amqp.handshake import BrokerRefused
from bridge.adapters.amqp.topology import READINGS

if TYPE_CHECKING:
    from collections.abc import Callable

    import amqp

    from bridge.adapters.amqp.connection import Broker
    from bridge.domain.messages import Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class EventQueue:
    """A queue of one's own and what it is bound with."""

    exchange: str
    name: str
    keys: tuple[str, ...]
    #: Events that are handed over ahead of their turn.
    prefetch: int
    #: Whether to declare what is missing; else it must be there.
    declares: bool
    #: Returns to the queue after which the broker itself takes an event for poison: each end of a consumer counts.
    delivery_limit: int = 100

    @property
    def dead(self) -> str:
        """The name of the exchange, and of the queue, for what was rejected."""
        return f"{self.name}.dead"


class AmqpEvents(ConnectionOwner):
    """A consumer of a queue of events, connected or about to be."""

    def __init__(
        self,
        connection: ConnectionOptions,
        queue: EventQueue,
        *,
        receive: Callable[[Delivery], None],
        fail: Callable[[Exception], None],
    ) -> None:
        """`fail` gets an error that a new connection does not fix. It and `receive` run on our own thread.

        BrokerRefused: the broker does not let us in, at the start. LinkDown: everything else.
        """
        crashed = ConnectionDown(f"the connection of {connection.name} has crashed: see the log")
        super().__init__(replace(connection, on_crash=partial(fail, crashed)))
        self._connection.on_round = self._judge_round
        self._queue = queue
        self._receive = receive
        self._fail = fail
        #: Deliveries belong to the connection they came on: its number is half of their tag.
        self._connection_number = 0
        self._settlements: deque[tuple[Delivery, bool]] = deque()
        self._channel: Any = None
        #: Once it was let in, a refusal may be a user or a password on its way to be replaced.
        self._was_let_in = False

    def is_held(self, delivery: Delivery) -> bool:
        """Whether a delivery is still ours: after a loss of the connection it comes again."""
        return delivery.tag[0] == self._connection_number

    def ack(self, delivery: Delivery) -> None:
        """Take an event off the queue."""
        self._settle(delivery, is_ack=True)

    def reject(self, delivery: Delivery) -> None:
        """Have an event put on the queue of the dead."""
        self._settle(delivery, is_ack=False)

    def _settle(self, delivery: Delivery, *, is_ack: bool) -> None:
        self._settlements.append((delivery, is_ack))
        self._connection.wake()

    # --- the link's thread ---------------------------------------------------------------------------------------

    def _judge_round(self, refusal: str) -> None:
        if refusal and not self._was_let_in:
            self._fail(BrokerRefused(refusal))

    def opened(self, broker: Broker) -> None:
        """Declare, bind and consume."""
        self._was_let_in = True
        try:
            if self._queue.declares:
                _declare(broker, self._queue)
            self._channel = broker.channel()
            self._channel.basic_qos(0, self._queue.prefetch, a_global=False)
            self._channel.basic_consume(
                self._queue.name, callback=self._on_message, on_cancel=self._on_cancel
            )
        except (AccessRefused, NotFound, PreconditionFailed) as e:
            self._fail(ConnectionDown(f"queue {self._queue.name}: {e.reply_text}"))
            raise ConnectionDown(e.reply_text) from e

    def work(self, _broker: Broker) -> None:
        """Settle."""
        while self._settlements:
            delivery, is_ack = self._settlements.popleft()
            connection_number, tag = delivery.tag
            if connection_number != self._connection_number:
                # Its connection is gone and the broker has it back: this tag means another message now.
                continue
            if is_ack:
                self._channel.basic_ack(tag)
            else:
                self._channel.basic_reject(tag, requeue=False)

    def lost(self) -> None:
        """Forget the connection; the broker gives what it delivered to others."""
        self._channel = None
        self._connection_number += 1

    def _on_message(self, message: amqp.Message) -> None:
        self._receive(delivery_of(message, connection_number=self._connection_number))

    def _on_cancel(self, _consumer_tag: str) -> None:
        """Start over when the broker ends our consumer: the queue was deleted, or has moved."""
        raise ConnectionDown(f"the broker ended the consumer of {self._queue.name}")


def _declare(broker: Broker, queue: EventQueue) -> None:
    _look_for_exchange(broker, queue.exchange)
    channel = broker.channel()
    channel.exchange_declare(queue.dead, "fanout", durable=True, auto_delete=False)
    own = {"durable": True, "auto_delete": False}
    dead = {"x-queue-type": "quorum", "x-delivery-limit": READINGS}
    channel.queue_declare(queue.dead, arguments=dead, **own)
    channel.queue_bind(queue.dead, queue.dead)
    arguments = {
        "x-queue-type": "quorum",
        "x-delivery-limit": queue.delivery_limit,
        "x-dead-letter-exchange": queue.dead,
        # Without both of these the broker may drop what it gives up.
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    channel.queue_declare(queue.name, arguments=arguments, **own)
    for key in queue.keys:
        channel.queue_bind(queue.name, queue.exchange, key)
    channel.close()


def _look_for_exchange(broker: Broker, exchange: str) -> None:
    """Declare the events exchange only where it is missing: the right to is not every consumer's."""
    channel = broker.channel()
    try:
        channel.exchange_declare(exchange, "topic", passive=True)
    except NotFound:
        # That has closed the channel.
        channel = broker.channel()
        channel.exchange_declare(exchange, "topic", durable=True, auto_delete=False)
    channel.close()
