"""Shows an operator the state of a broker; changes, publishes and consumes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, NoReturn

from amqp.exceptions import AccessRefused, AMQPError, InternalError

from bridge.adapters.amqp.ledger_notes import LedgerMismatch, Notes
from bridge.adapters.amqp.message_encoder import encode
from bridge.adapters.amqp.short_connection import connected
from bridge.domain.lineage import Outdated
from bridge.domain.messages import Outgoing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from bridge.adapters.amqp.connection import Broker
    from bridge.adapters.amqp.handshake import BrokerAddress
    from bridge.adapters.amqp.topology import Topology
    from bridge.domain.broker_url import BrokerNode
    from bridge.domain.lineage import Lineage, Remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """The rights that a process needs on the broker, beside declaring."""

    #: Exchanges that it publishes to; the empty name is the default exchange.
    writes: Collection[str]
    #: Queues that it consumes.
    reads: Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A broker as this user sees it."""

    product: str
    version: str
    #: Messages that wait in each queue of ours that is there.
    depths: Mapping[str, int] = field(default_factory=dict)
    #: Queues that the broker lists and can't read from: no majority of their members is online.
    down: tuple[str, ...] = ()
    #: Consumers of the command queue; None without such a queue.
    consumers: int | None = None
    #: Exchanges that this user may not publish to, and queues that it may not read.
    unwritable: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    #: Whether it takes no messages, for an alarm; then it is not known what may be written.
    blocked: bool = False


class Noted(Enum):
    """The ledger that the broker has noted for the command queue."""

    OURS = "ours"
    ANOTHERS = "another's"
    #: Ours, and this copy of it is an old primary.
    OUTDATED = "outdated"
    NONE = "none"
    #: This user may not compare.
    REFUSED = "refused"


class _Blocked(Exception):
    """An alarm of the broker."""


class _Down(Exception):
    """A queue has no majority of its members."""


def inspect(address: BrokerAddress, topology: Topology, needed: Rights) -> Inspection:
    """Look at the broker, and at which of the rights that are `needed` this user lacks.

    Raises:
        ConnectionError: it is not reachable or refuses.

    """
    down = tuple(_without_majority(address, topology))
    with connected(address) as broker:
        about = broker.connection.server_properties
        depths, consumers = {}, None
        for queue in (
            topology.command_queue,
            topology.given_up_queue,
            topology.dead_queue,
            topology.unrouted_queue,
        ):
            found = _queue(broker, queue)
            if found is not None:
                depths[queue] = found[0]
                consumers = found[1] if queue == topology.command_queue else consumers
        unreadable = tuple(queue for queue in needed.reads if not _may_consume(broker, queue))
        # The last: an alarm ends it.
        broker.connection.on_blocked = _stop
        unwritable, blocked = [], False
        try:
            unwritable += [exchange for exchange in needed.writes if not _may_publish(broker, exchange)]
        except _Blocked:
            blocked = True
        return Inspection(
            product=str(about.get("product", "unknown")),
            version=str(about.get("version", "unknown")),
            depths=depths,
            down=down,
            consumers=consumers,
            unwritable=tuple(unwritable),
            unreadable=unreadable,
            blocked=blocked,
        )


def try_nodes(address: BrokerAddress) -> Iterator[tuple[BrokerNode, str | None]]:
    """Connect to each address; yield it with the reason for which it can't be used, or None."""
    for node in address.nodes:
        try:
            with connected(replace(address, nodes=(node,))):
                yield node, None
        except ConnectionError as e:
            yield node, str(e)


def compare_ledger(
    address: BrokerAddress,
    topology: Topology,
    identity: str,
    own: Lineage | None,
    remembered: Remembered | None,
) -> Noted:
    """Return whether the ledger of this identity and lineage is the one that is noted for the command queue.

    Raises:
        ConnectionError: the broker is not reachable or refuses.

    """
    with connected(address) as broker:
        notes = Notes(broker, topology, identity)
        if not notes.is_known():
            return Noted.NONE
        try:
            # It is there: this compares, and writes nothing.
            notes.identify()
            noted = Noted.OURS
        except LedgerMismatch:
            return Noted.ANOTHERS
        except AccessRefused:
            noted = Noted.REFUSED
        return Noted.OUTDATED if isinstance(notes.judge(own, remembered), Outdated) else noted


def _without_majority(address: BrokerAddress, topology: Topology) -> Iterator[str]:
    """Yield the queues that the broker lists and can't read from.

    It lists a quorum queue without a majority as one with no messages and no consumers. So a message is asked for where
    none is said to be: there is none to take, and what might have come meanwhile goes back with the connection.
    """
    for queue in sorted(topology.own_queues):
        try:
            with connected(address) as broker:
                if _queue(broker, queue) == (0, 0):
                    _ask_for_a_message(broker, queue)
        except _Down:
            yield queue


def _ask_for_a_message(broker: Broker, queue: str) -> None:
    try:
        broker.channel().basic_get(queue)
    except AccessRefused:
        # Nothing can be said of it without the right to read.
        return
    except (InternalError, TimeoutError) as e:
        raise _Down from e


def _stop(_reason: str) -> NoReturn:
    raise _Blocked


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
    """Return whether this user may write to an exchange: in a transaction that is never committed.

    An exchange that is missing is not refused.
    """
    channel = broker.channel()
    try:
        channel.tx_select()
        empty = Outgoing(exchange=exchange, routing_key="", body=b"")
        broker.gather(channel, encode(empty, frame_max=broker.frame_max), exchange, "")
        broker.flush()
        channel.tx_rollback()
    except AccessRefused:
        return False
    except AMQPError:
        return True
    channel.close()
    return True


def _may_consume(broker: Broker, queue: str) -> bool:
    """Return whether this user may read a queue, by a consumer that is refused for its priority, which is no number.

    The broker looks at rights first, so nothing is delivered whichever it says. A queue that is missing is not refused.
    """
    channel = broker.channel()
    try:
        channel.basic_consume(queue, arguments={"x-priority": "none"})
    except AccessRefused:
        return False
    except AMQPError:
        return True
    # A broker that took it has given us messages, and has them back, in their places, with the connection.
    return True
