"""The command line's work with the broker: one thing, on a connection of its own, in the calling thread."""

from __future__ import annotations

import contextlib
import json
import uuid
from typing import TYPE_CHECKING, Any

from bridge.adapters.amqp.connection import BROKER_ERRORS
from bridge.adapters.amqp.replies import are_all, command_properties, open_replies, read_event
from bridge.adapters.amqp.short_connection import CONFIRM_TIMEOUT, ConfirmedPublishing, connected, drain_for
from bridge.adapters.amqp.topology import declare, mismatched, missing
from bridge.domain.contracts.commands import SEND
from bridge.domain.messages import Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    import amqp

    from bridge.adapters.amqp.connection import Broker
    from bridge.adapters.amqp.handshake import BrokerAddress
    from bridge.adapters.amqp.topology import Topology
    from bridge.ports import Clock


class OneShot:
    """Does one thing with the broker.

    All raise ConnectionError where the broker is not reachable, refuses, or falls silent.
    """

    def __init__(
        self,
        address: BrokerAddress,
        topology: Topology,
        clock: Clock,
        *,
        declares: bool = True,
        confirm_timeout: float = CONFIRM_TIMEOUT,
    ) -> None:
        """Declare what is read from where it `declares`; a confirm may take `confirm_timeout` seconds."""
        self._declares = declares
        self._confirm_timeout = confirm_timeout
        self._address = address
        self._topology = topology
        self._clock = clock

    def send(
        self, command: Mapping[str, object], *, outcomes: int, wait: float | None
    ) -> list[dict[str, Any]]:
        """Publish a command, confirmed; return the outcome events that came within `wait` seconds.

        An `invalid` event stands for all `outcomes`; with `wait` None none is asked for. A connection that is lost
        after the confirm ends the wait: the command is on the queue.
        """
        received: list[dict[str, Any]] = []
        correlation = str(uuid.uuid4())

        def receive(message: amqp.Message) -> None:
            event = read_event(message.body)
            # Any service may publish to a queue whose name it knows.
            if event is not None and message.properties.get("correlation_id") == correlation:
                received.append(event)

        with self._open() as broker:
            channel = broker.channel()
            properties = command_properties(str(command["id"]), now=self._clock.now())
            if wait is not None:
                properties["reply_to"] = open_replies(channel, receive)
                properties["correlation_id"] = correlation
            publishing = ConfirmedPublishing(broker, self._clock, timeout=self._confirm_timeout)
            publishing.publish(
                Outgoing(
                    exchange=self._topology.commands_exchange,
                    routing_key=SEND,
                    body=json.dumps(command, ensure_ascii=False).encode(),
                    properties=properties,
                )
            )
            deadline = self._clock.monotonic() + (wait or 0.0)
            with contextlib.suppress(*BROKER_ERRORS):
                while not are_all(received, outcomes) and self._clock.monotonic() < deadline:
                    self._drain(broker, deadline)
        return received

    def tail(
        self, keys: Sequence[str], skipped: Callable[[str], None] = lambda _reason: None
    ) -> Iterator[dict[str, Any]]:
        """Yield events from now on whose type matches one of the binding `keys`; until the caller has enough.

        `skipped` is called with one line for each message that is not an event.
        """
        received: list[dict[str, Any]] = []

        def receive(message: amqp.Message) -> None:
            event = read_event(message.body)
            if event is not None:
                received.append(event)
                return
            key, size = message.delivery_info["routing_key"], len(message.body or b"")
            skipped(f"skipped a message that is not an event: routing key {key}, {size} bytes")

        with self._open() as broker:
            if self._declares:
                declare(broker, self._topology)
            channel = broker.channel()
            queue = channel.queue_declare("", exclusive=True, auto_delete=True).queue
            for key in keys:
                channel.queue_bind(queue, self._topology.events_exchange, key)
            channel.basic_consume(queue, no_ack=True, callback=receive)
            while True:
                self._drain(broker, self._clock.monotonic() + 1.0)
                while received:
                    yield received.pop(0)

    def declare(self) -> list[str]:
        """Declare everything, bindings too; return the names of what is there."""
        with self._open() as broker:
            declare(broker, self._topology, anew=True)
        exchanges = [f"exchange {exchange.name}" for exchange in self._topology.exchanges()]
        return exchanges + [f"queue {queue.name}" for queue in self._topology.queues()]

    def differences(self) -> list[str]:
        """Return what is not there or has other properties, one line each; declares nothing that is not there."""
        with self._open() as broker:
            lacking = missing(broker, self._topology)
            others = mismatched(broker, self._topology, lacking)
            return [f"{name} is missing" for name in lacking] + others

    def waiting(self) -> int:
        """Return how many commands wait on the command queue; those that a worker holds are not counted."""
        with self._open() as broker:
            found = broker.channel().queue_declare(self._topology.command_queue, passive=True)
            return int(found.message_count)

    def _open(self) -> AbstractContextManager[Broker]:
        return connected(self._address)

    def _drain(self, broker: Broker, deadline: float) -> None:
        drain_for(broker, deadline - self._clock.monotonic())
