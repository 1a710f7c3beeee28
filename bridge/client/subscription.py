"""The common part of both consumers: connects, parses events, and acknowledges them.

`Consumer` waits on a thread, `aio.Consumer` on an event loop; both have one of these.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bridge.adapters.amqp.connection_thread import ConnectionOptions
from bridge.adapters.amqp.events import AmqpEvents
from bridge.adapters.amqp.handshake import BrokerRefused
from bridge.adapters.amqp.replies import read_event
from bridge.adapters.clock import SystemClock
from bridge.client.errors import FORKED, AuthenticationError, Closed, QueueRefused
from bridge.client.events import NotAnEvent, event_from
from bridge.client.log import ClientLog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.adapters.amqp.events import EventQueue
    from bridge.client.errors import ClientError
    from bridge.client.events import Event
    from bridge.client.options import Options
    from bridge.domain.messages import Delivery


class QueueSubscription:
    """Consumes a queue once it was started. Every method may be called on any thread."""

    def __init__(
        self,
        url: str | Sequence[str],
        options: Options,
        queue: EventQueue,
        receive: Callable[[Delivery | None], None],
    ) -> None:
        """`receive` runs on the connection's thread: with each delivery, and with None once it failed for good."""
        self.log = ClientLog(queue=queue.name)
        self._receive = receive
        self._failure: ClientError | None = None
        self._closed = False
        self._process: int | None = None
        self._source = AmqpEvents(
            ConnectionOptions(options.address(url), options.name, SystemClock(), log=self.log),
            queue,
            receive=receive,
            fail=self._fail,
        )

    def start(self) -> None:
        """Begin to connect and to consume, where that has not begun yet.

        Raises:
            Closed: the consumer was closed, or belongs to the process that this one was forked from.

        """
        if self._closed:
            raise Closed("this consumer is closed")
        if self._process is None:
            self._process = os.getpid()
            self._source.start()
        elif self._process != os.getpid():
            raise Closed(FORKED)

    def close(self) -> None:
        """Write the acknowledgements that are due, and close the connection, within 5 s. Blocks until then."""
        self._closed = True
        if self._process == os.getpid():
            self._source.stop()

    def event_of(self, delivery: Delivery | None) -> Event | None:
        """Return the event that was delivered.

        None where the broker will deliver it again (its connection is lost), and for a message that is not an event,
        which is dead-lettered.

        Raises:
            AuthenticationError: the broker refused the first login.
            QueueRefused: the broker refuses the queue.

        """
        if self._failure is not None:
            raise self._failure
        if delivery is None or not self._source.is_held(delivery):
            return None
        try:
            return event_from(read_event(delivery.body))
        except NotAnEvent as e:
            self.log.warning("event.unreadable", reason=e)
            self.reject(delivery)
        return None

    def is_held(self, delivery: Delivery) -> bool:
        """Whether a delivery is still ours: the broker delivers it again after a loss of the connection."""
        return self._source.is_held(delivery)

    def ack(self, delivery: Delivery) -> None:
        """Take an event off the queue."""
        self._source.ack(delivery)

    def reject(self, delivery: Delivery) -> None:
        """Dead-letter an event."""
        self._source.reject(delivery)

    def _fail(self, error: Exception) -> None:
        reason = str(error)
        if "PRECONDITION_FAILED" in reason:
            reason += "; delete it once it is empty, or use it as it is: ConsumerOptions(declare=False)"
        is_login = isinstance(error, BrokerRefused)
        self._failure = AuthenticationError(reason) if is_login else QueueRefused(reason)
        self._receive(None)
