"""What a broker looks like to whoever has to run it; nothing is changed, nothing published and nothing consumed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import amqp
from amqp.exceptions import AccessRefused, AMQPError, NotFound, PreconditionFailed

from bridge.adapters.amqp.calling import connected
from bridge.adapters.amqp.mark import LedgerMismatch, exchange_of, note

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.adapters.amqp.connection import Broker, BrokerAddress
    from bridge.adapters.amqp.topology import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A broker as this user sees it."""

    product: str
    version: str
    #: Messages that wait in each queue of ours that is there.
    depths: Mapping[str, int] = field(default_factory=dict)
    #: Consumers of the command queue; None without such a queue.
    consumers: int | None = None
    #: Exchanges that this user may not publish to; the empty name is the default exchange.
    unwritable: tuple[str, ...] = ()


def inspect(address: BrokerAddress, topology: Topology) -> Inspection:
    """Look at the broker.

    Raises:
        ConnectionError: it is not reachable or refuses.

    """
    with connected(address) as broker:
        about = broker.connection.server_properties
        depths, consumers = {}, None
        for queue in (topology.command_queue, topology.dead_queue, topology.unrouted_queue):
            found = _queue(broker, queue)
            if found is not None:
                depths[queue] = found[0]
                consumers = found[1] if queue == topology.command_queue else consumers
        exchanges = (topology.commands_exchange, topology.events_exchange, "")
        return Inspection(
            product=str(about.get("product", "unknown")),
            version=str(about.get("version", "unknown")),
            depths=depths,
            consumers=consumers,
            unwritable=tuple(exchange for exchange in exchanges if not _may_publish(broker, exchange)),
        )


def compare_ledger(address: BrokerAddress, topology: Topology, identity: str) -> bool | None:
    """Return whether the ledger of this identity is the one that is noted for the command queue; None where none is.

    Raises:
        ConnectionError: the broker is not reachable or refuses.

    """
    with connected(address) as broker:
        channel = broker.channel()
        try:
            channel.exchange_declare(exchange_of(topology), "fanout", passive=True)
        except (NotFound, PreconditionFailed):
            return None
        channel.close()
        try:
            # It is there: this compares, and writes nothing.
            note(broker, topology, identity)
        except LedgerMismatch:
            return False
        return True


def _queue(broker: Broker, name: str) -> tuple[int, int] | None:
    channel = broker.channel()
    try:
        found = channel.queue_declare(name, passive=True)
    except AMQPError:
        # Missing, or not for this user: the topology's check says which.
        return None
    channel.close()
    return found.message_count, found.consumer_count


def _may_publish(broker: Broker, exchange: str) -> bool:
    """Return whether this user may write to an exchange: in a transaction that is never committed, so nobody gets it.

    An exchange that is missing is not refused.
    """
    channel = broker.channel()
    try:
        channel.tx_select()
        broker.publish(channel, amqp.Message(b""), exchange=exchange, routing_key="", mandatory=False)
        channel.tx_rollback()
    except AccessRefused:
        return False
    except AMQPError:
        return True
    channel.close()
    return True
