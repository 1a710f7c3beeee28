"""Puts a ledger in the place of the one that the command queue has: `bridge ledger adopt`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from amqp.exceptions import InternalError, NotFound

from bridge.adapters.amqp.ledger_notes import LedgerMismatch, Notes
from bridge.adapters.amqp.short_connection import Unanswered, connected
from bridge.domain.errors import BridgeError
from bridge.domain.lineage import copies

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.amqp.connection import Broker
    from bridge.adapters.amqp.handshake import BrokerAddress
    from bridge.adapters.amqp.topology import Topology
    from bridge.domain.lineage import Lineage, Remembered


#: Said where consumers can't be counted.
_NO_LEADER = (
    "the queue {queue} has no leader that answers, so it is not known whether workers consume it: start the nodes of "
    "its members (`rabbitmqctl list_queues --vhost VHOST name leader members online`), then run this again"
)


class QueueInUse(BridgeError):
    """Workers consume the command queue."""


class AdoptedLedger(Protocol):
    """The ledger that is to be the command queue's. Its methods raise LedgerUnavailable."""

    @property
    def identity(self) -> str:
        """The name that it shares with its copies, as of the last `recall`."""
        ...

    def recall(self) -> tuple[Lineage | None, Remembered | None]:
        """Return the lineage that it has now, and the one that it remembers; read its name."""
        ...

    def rename(self, identity: str, own: Lineage | None) -> None:
        """Give it another name than its copies have, and note that the broker has the mark of its lineage."""
        ...


def adopt(
    address: BrokerAddress,
    topology: Topology,
    ledger: AdoptedLedger,
    identity: str,
    record: Callable[[bool], None],
) -> None:
    """Give the ledger the new name `identity`, and note that on the broker in place of what is noted there.

    All its copies, and any other ledger, have another name, so no worker uses them from then on: primaries of before
    and after it, and a restore on another system. If this ends in the middle, do it again: until the broker has the new
    name all is as it was, and then no ledger is used until it is done.

    `record` is called before anything changes, once it is certain that no worker consumes, with whether the broker has
    this ledger.

    Raises:
        QueueInUse: workers consume the command queue, so they have the ledger that is noted.
        ConnectionError: the broker is not reachable or refuses.
        LedgerMismatch: a worker has noted its ledger meanwhile.
        LedgerUnavailable: the ledger could not be changed.

    """
    with connected(address) as broker:
        adopt_with(broker, topology, ledger, identity, record)


def adopt_with(
    broker: Broker,
    topology: Topology,
    ledger: AdoptedLedger,
    identity: str,
    record: Callable[[bool], None],
) -> None:
    """Do so on a connection."""
    consumers = _consumers(broker, topology.command_queue)
    if consumers:
        raise QueueInUse(
            f"the queue {topology.command_queue} has {consumers} consumers: stop all workers first, "
            "they have the ledger that is noted on the broker"
        )
    own, remembered = ledger.recall()
    before, after = Notes(broker, topology, ledger.identity), Notes(broker, topology, identity)
    # The first: workers that use the ledger from now on look up what it may lack.
    record(_has(before))
    if own is not None:
        after.identity(own)
    replaced = after.replace()
    after.name()
    ledger.rename(identity, own)
    # Workers that run notice that these go.
    before.remove(copies(own, remembered))
    before.unname()
    if replaced is not None:
        Notes(broker, topology, replaced).unname()


def _has(notes: Notes) -> bool:
    """Return whether the broker has this ledger, whichever copy of it."""
    try:
        if notes.is_known():
            notes.identify()
            return True
    except LedgerMismatch:
        return False
    return False


def _consumers(broker: Broker, queue: str) -> int:
    """Return how many consumers a queue has; none where there is no queue yet.

    Of a queue whose leader does not answer RabbitMQ says that it has no messages and no consumers. So where it says
    that, there is a consumer of our own for a moment: an answer that counts it is the leader's.

    Raises:
        Unanswered: no leader does.

    """
    channel = broker.channel()
    try:
        found = channel.queue_declare(queue, passive=True)
    except NotFound:
        return 0
    if found.message_count or found.consumer_count:
        channel.close()
        return int(found.consumer_count)
    try:
        # A message that is delivered meanwhile, one at most, goes back to the queue unchanged.
        channel.basic_qos(0, 1, a_global=False)
        tag = channel.basic_consume(queue, callback=lambda _: None)
        counted = int(channel.queue_declare(queue, passive=True).consumer_count)
    except (InternalError, TimeoutError) as e:
        raise Unanswered(_NO_LEADER.format(queue=queue)) from e
    if counted == 0:
        raise Unanswered(_NO_LEADER.format(queue=queue))
    channel.basic_cancel(tag)
    channel.close()
    return counted - 1
