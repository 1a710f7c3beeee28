"""The exchanges, queues and delay queues of the bridge on the broker (SPEC section 3)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

from amqp.exceptions import AccessRefused, NotFound, PreconditionFailed
from kombu.entity import Exchange, Queue
from kombu.transport.native_delayed_delivery import (
    CELERY_DELAYED_DELIVERY_EXCHANGE,
    bind_queue_to_native_delayed_delivery_exchange,
    calculate_routing_key,
    declare_native_delayed_delivery_exchanges_and_queues,
    level_name,
)

from bridge.domain.contracts.commands import SEND
from bridge.domain.errors import BridgeError
from bridge.domain.names import Names

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from bridge.adapters.amqp.connection import Broker

#: How often a dead letter may be looked at: each look counts as a delivery, and from RabbitMQ 4.0 on a quorum queue
#: without a limit of its own drops what was delivered 20 times.
READINGS = 2**31 - 1
#: The longest delay of kombu's native delayed delivery: 28 levels, each twice as long as the one before.
MAX_DELAY = 2**28 - 1
#: Queues that are looked for at a time, each on a channel of its own; and the channels that are left for others where a
#: URL allows few.
CHECKS_AT_ONCE = 32
OTHER_CHANNELS = 5


class TopologyMismatch(BridgeError):
    """Something of ours is on the broker with other properties: it is the operator's to delete or rename."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology(Names):
    """Names and bounds of everything on the broker."""

    #: Messages; beyond that the oldest go.
    unrouted_max_length: int
    #: Returns to the queue after which the broker itself gives a message up: a far backstop, since every worker that
    #: ends and every connection that closes counts.
    delivery_limit: int

    @property
    def levels(self) -> tuple[str, ...]:
        """The queues of the delay, each of which waits twice as long as the next."""
        return tuple(level_name(level, self.prefix) for level in range(27, -1, -1))

    @property
    def all_queues(self) -> frozenset[str]:
        """Every queue that the bridge declares."""
        return self.own_queues | frozenset(self.levels)

    def delayed(self, routing_key: str, delay: int) -> tuple[str, str]:
        """Return exchange and routing key that bring a message to the commands exchange after `delay` seconds."""
        longest_level = level_name(27, self.prefix)
        return longest_level, calculate_routing_key(max(1, min(delay, MAX_DELAY)), routing_key)

    @property
    def marker(self) -> str:
        """The exchange that is declared last: where it is, all bindings of this topology were made.

        Bindings can't be looked at, and RabbitMQ makes none while one of its nodes does not answer. The name changes
        with everything that is declared, so that another version of it has a marker of its own.
        """
        arguments = [queue.queue_arguments for queue in self.queues()]  # type: ignore[attr-defined]  # kombu's own
        whole = json.dumps([asdict(self), arguments, SEND, MAX_DELAY], sort_keys=True)
        return f"{self.prefix}.topology.{hashlib.sha256(whole.encode()).hexdigest()[:12]}"

    def exchanges(self) -> Iterator[Exchange]:
        """Yield the exchanges, without those of the delay."""
        yield Exchange(self.commands_exchange, type="topic", durable=True)
        yield Exchange(self.events_exchange, type="topic", durable=True)

    def queues(self) -> Iterator[Queue]:
        """Yield the queues, without those of the delay."""
        yield self.commands()
        yield Queue(self.given_up_queue, queue_arguments=self._gives_up_to(self.dead_queue))
        yield Queue(
            self.unrouted_queue,
            queue_arguments={
                "x-queue-type": "quorum",
                "x-max-length": self.unrouted_max_length,
                "x-overflow": "drop-head",
            },
        )
        yield Queue(
            self.dead_queue,
            queue_arguments={"x-queue-type": "quorum", "x-delivery-limit": READINGS},
        )

    def commands(self) -> Queue:
        """Return the command queue, with the binding that feeds it."""
        return Queue(
            self.command_queue,
            exchange=Exchange(self.commands_exchange, type="topic", durable=True),
            routing_key=SEND,
            queue_arguments=self._gives_up_to(self.given_up_queue),
        )

    def _gives_up_to(self, queue: str) -> dict[str, object]:
        """Return the arguments of a queue of commands: those that the broker gives up go to `queue`."""
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": self.delivery_limit,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": queue,
            # Without both of these the broker may drop what it gives up.
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }


def declare(broker: Broker, topology: Topology, *, anew: bool = False, compares: bool = True) -> None:
    """Declare everything, unless all is there already; `anew` in any case, for bindings that somebody has removed.

    A look is answered at once also while a node of the broker is frozen or cut off, a binding then waits for minutes.
    Properties are compared where it `compares`, which takes a moment for each queue whose leader is away.

    Raises:
        TopologyMismatch: something is there with other properties.

    """
    if not anew and not missing(broker, topology):
        differing = mismatched(broker, topology, ()) if compares else []
        if differing:
            raise TopologyMismatch(differing[0])
        return
    for name, declaring in _declarations(broker, topology):
        try:
            declaring()
        except PreconditionFailed as e:
            raise TopologyMismatch(_differs(name, e)) from e


def _declarations(broker: Broker, topology: Topology) -> Iterator[tuple[str, Callable[[], object]]]:
    channel = broker.connection.channel()
    # Until all is done again it is not there: who ends in the middle must not leave it behind.
    yield topology.marker, lambda: channel.exchange_delete(topology.marker)
    for exchange in topology.exchanges():
        yield exchange.name, exchange.bind(channel).declare
    # The dead letters and the unrouted first: the command queue points at one of them.
    for queue in reversed(list(topology.queues())):
        yield queue.name, queue.bind(channel).declare
    prefix = topology.prefix
    yield (
        level_name(27, prefix),
        lambda: declare_native_delayed_delivery_exchanges_and_queues(broker.connection, "quorum", prefix),
    )
    yield (
        topology.command_queue,
        lambda: bind_queue_to_native_delayed_delivery_exchange(
            broker.connection, topology.commands(), prefix
        ),
    )
    yield topology.marker, Exchange(topology.marker, type="fanout", durable=True).bind(channel).declare
    yield "the channel", channel.close


def missing(broker: Broker, topology: Topology) -> list[str]:
    """Return what is not on the broker, as "exchange NAME" and "queue NAME"; declares nothing.

    The marker is missing where bindings may be (`Topology.marker`).
    """
    exchanges = missing_exchanges(broker, _exchange_names(topology))
    queues = _missing_queues(broker, _queue_names(topology))
    return [f"exchange {name}" for name in exchanges] + [f"queue {name}" for name in queues]


def _exchange_names(topology: Topology) -> list[str]:
    delivery = f"{topology.prefix}_{CELERY_DELAYED_DELIVERY_EXCHANGE}"
    return [
        *(exchange.name for exchange in topology.exchanges()),
        *topology.levels,
        delivery,
        topology.marker,
    ]


def _queue_names(topology: Topology) -> list[str]:
    return [*(queue.name for queue in topology.queues()), *topology.levels]


def missing_exchanges(broker: Broker, names: Iterable[str]) -> list[str]:
    """Look for all of them on one channel, since each connection waits for it; return those that are not there."""
    channel = broker.connection.channel()
    lacking = []
    for name in names:
        try:
            channel.exchange_declare(name, "topic", passive=True)
        except NotFound:
            # The broker has closed the channel, and py-amqp has opened it again.
            lacking.append(name)
    channel.close()
    return lacking


def _missing_queues(broker: Broker, names: Sequence[str]) -> list[str]:
    """Look for several queues at a time: for each whose leader is away the broker takes a quarter of a second."""
    at_once = max(1, min(CHECKS_AT_ONCE, broker.connection.channel_max - OTHER_CHANNELS))
    found: dict[str, bool] = {}
    for start in range(0, len(names), at_once):
        looking = names[start : start + at_once]
        channels = [broker.look_for(name, partial(found.__setitem__, name)) for name in looking]
        while not all(name in found for name in looking):
            broker.connection.drain_events()
        for channel in channels:
            # The broker has closed those of the missing ones.
            if channel.is_open:
                channel.close()
    return [name for name in names if not found[name]]


def mismatched(broker: Broker, topology: Topology, lacking: Collection[str]) -> list[str]:
    """Return what is on the broker with other properties, in its own words. What is `lacking` stays so.

    The only way to ask is to declare again, which changes nothing where a thing is there.
    """
    polling: dict[str, Callable[..., object]] = {
        f"exchange {one.name}": one.declare for one in topology.exchanges()
    }
    polling |= {f"queue {one.name}": one.queue_declare for one in topology.queues()}
    found = []
    for name, declaring in polling.items():
        if name in lacking:
            continue
        channel = broker.connection.channel()
        try:
            declaring(channel=channel)
        except PreconditionFailed as e:
            found.append(_differs(name, e))
        except AccessRefused:
            # We may not configure it, so there is no way to know.
            continue
        else:
            channel.close()
    return found


def _differs(name: str, error: PreconditionFailed) -> str:
    """Say what is other than it should be, in the broker's words, which name the property and nothing secret."""
    return (
        f"{name} is on the broker with other properties: {error.reply_text}; set [broker] to what is there, or delete "
        "it once it is empty"
    )
