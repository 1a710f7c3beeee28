"""A broker inside the process, for the demo: kombu's in-memory transport. Nothing survives the process.

It fills the ports `Publisher`, `OneShotPublisher` and `CommandSource` all, on one thread that owns the one connection.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import structlog
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.messaging import Consumer, Producer

from bridge.domain.messages import Delivery
from bridge.ports import OneShotResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from kombu.message import Message

    from bridge.adapters.amqp.topology import Topology
    from bridge.domain.messages import Outgoing
    from bridge.ports import Clock, Depth

#: Seconds between two looks at what is to be done: this is for trying out, not for speed.
POLL = 0.01


class EmbeddedBroker:
    """Exchanges and queues of a topology, in memory."""

    def __init__(
        self,
        topology: Topology,
        clock: Clock,
        *,
        watch: Callable[[bytes], None] | None = None,
        on_crash: Callable[[], None] = lambda: None,
    ) -> None:
        """`watch` is called with the body of each event; `on_crash` where the broker's thread ends by an error."""
        self._topology = topology
        self._clock = clock
        self._watch = watch
        self._on_crash = on_crash
        self._receive: Callable[[Delivery], None] | None = None
        self._paused = False
        self._consuming = False
        self._todo: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._delayed: list[tuple[float, int, Outgoing]] = []
        self._order = itertools.count(1)
        self._held: dict[int, Message] = {}
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="embedded-broker", daemon=True)
        self._producer: Any = None
        #: How often its thread went round.
        self.iterations = 0

    def open(self) -> None:
        """Open for business."""
        self._thread.start()
        self._ready.wait()

    def close(self, timeout: float = 5.0) -> None:
        """Close, and forget everything, within `timeout` seconds."""
        self._stopping.set()
        self._thread.join(timeout)

    def start(self) -> None:
        """Do nothing: it is open for all who use it."""

    def stop(self, timeout: float = 5.0) -> None:
        """Do nothing: others may still use it."""

    def consume(self, receive: Callable[[Delivery], None]) -> None:
        """Deliver commands to `receive`, from now on."""
        self._receive = receive

    def pause(self) -> None:
        """Deliver nothing for now."""
        self._paused = True

    def resume(self) -> None:
        """Deliver again."""
        self._paused = False

    @property
    def available(self) -> bool:
        """Whether it takes messages."""
        return self._ready.is_set() and not self._stopping.is_set() and self._thread.is_alive()

    connected = available

    @property
    def out_of_service(self) -> bool:
        """Whether it takes no messages."""
        return not self.available

    @property
    def consuming(self) -> bool:
        """Whether it delivers commands."""
        return self._consuming

    blocked = False
    #: Its queue is delivered from as fast as can be, and no other process sees it.
    depth: Depth | None = None

    def publish(self, message: Outgoing, confirmed: Callable[[], None], *, soon: bool = True) -> None:  # noqa: ARG002 - it always is
        """Take a message; see `bridge.ports.Publisher`."""
        self._todo.put(lambda: self._publish(message, confirmed))

    def publish_once(
        self,
        message: Outgoing,
        answered: Callable[[OneShotResult], None],
        *,
        until: float,  # noqa: ARG002 - it is in time
    ) -> None:
        """Take a message; see `bridge.ports.OneShotPublisher`."""
        self.publish(message, lambda: answered(OneShotResult.TAKEN))

    def flush(self) -> None:
        """Do nothing: what is taken waits for no flush."""

    def ack(self, delivery: Delivery) -> None:
        """Forget a command."""
        self._todo.put(lambda: self._held.pop(delivery.tag[1]).ack())

    def requeue(self, delivery: Delivery) -> None:
        """Put a command back."""
        self._todo.put(lambda: self._held.pop(delivery.tag[1]).requeue())

    # --- the broker's thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._serve()
        except Exception:  # noqa: BLE001 - without this thread the process sends nothing and must not stay ready
            structlog.get_logger().exception("broker.crashed", hint="the process ends")
            self._consuming = False
            self._on_crash()
        finally:
            # `start` waits for it.
            self._ready.set()

    def _serve(self) -> None:
        with Connection("memory://", transport_options={"polling_interval": POLL}) as connection:
            channel = connection.channel()
            self._producer = Producer(channel)
            watched = Queue(
                f"{self._topology.prefix}.console",
                exchange=self._exchange(),
                routing_key="#",
                channel=channel,
            )
            commands = self._topology.commands()
            self._topology_of(channel)
            consumer = Consumer(channel, [commands], on_message=self._on_command)
            with Consumer(channel, [watched], on_message=self._on_event, no_ack=True):
                self._ready.set()
                while not self._stopping.is_set():
                    self.iterations += 1
                    self._follow(consumer)
                    self._step(connection)
                self._consuming = False

    def _topology_of(self, channel: Any) -> None:
        for exchange in self._topology.exchanges():
            exchange.bind(channel).declare()
        for queue in self._topology.queues():
            queue.bind(channel).declare()

    def _exchange(self) -> Exchange:
        return Exchange(self._topology.events_exchange, type="topic", durable=True)

    def _follow(self, consumer: Consumer) -> None:
        """Be a consumer or not, as wanted."""
        wanted = self._receive is not None and not self._paused
        if wanted and not self._consuming:
            consumer.consume()
        elif not wanted and self._consuming:
            consumer.cancel()
        self._consuming = wanted

    def _step(self, connection: Connection) -> None:
        while True:
            try:
                self._todo.get_nowait()()
            except Empty:
                break
        while self._delayed and self._delayed[0][0] <= self._clock.monotonic():
            self._deliver(heapq.heappop(self._delayed)[2])
        try:
            connection.drain_events(timeout=POLL)
        except TimeoutError:
            return

    def _publish(self, message: Outgoing, confirmed: Callable[[], None]) -> None:
        if message.delay is None:
            self._deliver(message)
        else:
            due = self._clock.monotonic() + message.delay
            heapq.heappush(self._delayed, (due, next(self._order), message))
        confirmed()

    def _deliver(self, message: Outgoing) -> None:
        self._producer.publish(
            message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            content_type=message.content_type or "application/octet-stream",
            content_encoding="binary",
            headers=dict(message.headers),
            **{key: value for key, value in message.properties.items() if key != "content_encoding"},
        )

    def _on_event(self, message: Message) -> None:
        if self._watch is None:
            return
        try:
            self._watch(_bytes(message.body))
        except Exception:  # noqa: BLE001 - an event that can't be shown was published all the same
            structlog.get_logger().exception(
                "event.display_failed", message_id=message.properties.get("message_id")
            )

    def _on_command(self, message: Any) -> None:
        receive = self._receive
        if receive is None:  # there is no consumer without one
            return
        number = next(self._order)
        self._held[number] = message
        properties = {key: value for key, value in message.properties.items() if value is not None}
        receive(
            Delivery(
                body=_bytes(message.body),
                tag=(0, number),
                redelivered=bool(message._raw.get("redelivered")),  # noqa: SLF001 - kombu reads it nowhere
                properties=properties,
                headers=message.headers or {},
            )
        )


def _bytes(body: object) -> bytes:
    return body if isinstance(body, bytes) else str(body).encode()
