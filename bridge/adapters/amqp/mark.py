"""Which ledger a command queue has, noted on the broker: a worker with another one must not send.

The note is an exchange that nothing is published to. RabbitMQ refuses to declare an exchange again with other arguments
than it has, in one step, so whoever comes first writes its ledger's identity into an argument and everybody else
compares. An alternate exchange need not exist, so its name is free to say whose ledger it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from amqp.exceptions import AccessRefused, NotFound, PreconditionFailed

from bridge.adapters.amqp.calling import connected
from bridge.adapters.amqp.topology import TopologyMismatch
from bridge.core.errors import BridgeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.amqp.connection import Broker
    from bridge.adapters.amqp.opening import BrokerAddress
    from bridge.adapters.amqp.topology import Topology

#: How the broker names the ledger that is noted; cut off where the names are long (a reply has 255 bytes at most).
_CURRENT = re.compile(r"current is '[^']*\.ledger\.([a-z]+)'")


class LedgerMismatch(TopologyMismatch):
    """The command queue has another ledger than this worker; the message names both."""


class QueueInUse(BridgeError):
    """Workers consume the command queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerMark:
    """The ledger of this process, to compare with the one on the broker each time before it consumes."""

    identity: str
    #: Called on the link's thread when the ledger is the queue's own; ConnectionError has the connection tried again.
    recognized: Callable[[], None]
    #: Called likewise when it is not.
    mistaken: Callable[[str], None]

    def compare(self, broker: Broker, topology: Topology, *, declares: bool) -> None:
        """Note this ledger where none is noted.

        Raises:
            LedgerMismatch: another one is.

        """
        try:
            note(broker, topology, self.identity)
        except LedgerMismatch as e:
            self.mistaken(str(e))
            raise
        except AccessRefused:
            if declares:
                raise
            # Whoever declares nothing may have no right to; then nobody can compare.
            structlog.get_logger().warning(
                "ledger.not_compared",
                exchange=exchange_of(topology),
                hint="give the user the right to configure it",
            )
        self.recognized()


def exchange_of(topology: Topology) -> str:
    """Return the name of the exchange that says which ledger the command queue has."""
    return f"{topology.prefix}.ledger"


def note(broker: Broker, topology: Topology, identity: str) -> None:
    """Note the ledger where none is noted.

    Raises:
        LedgerMismatch: another one is.

    """
    exchange = exchange_of(topology)
    channel = broker.channel()
    try:
        channel.exchange_declare(
            exchange,
            "fanout",
            durable=True,
            auto_delete=False,
            arguments={"alternate-exchange": f"{exchange}.{identity}"},
        )
    except PreconditionFailed as e:
        current = _CURRENT.search(e.reply_text)
        theirs = f"the ledger {current[1]}" if current else "another ledger"
        raise LedgerMismatch(
            f"the queue {topology.command_queue} has {theirs}, and this process has {identity}: set ledger.url to "
            "the right one; if that one is gone for good, stop all workers and run `bridge ledger adopt`"
        ) from e
    channel.close()


def adopt(address: BrokerAddress, topology: Topology, identity: str, record: Callable[[], None]) -> None:
    """Note the ledger in place of whatever is noted; `record` is called before that, once nobody consumes.

    Raises:
        QueueInUse: workers consume the command queue, so they have the ledger that is noted.
        ConnectionError: the broker is not reachable or refuses.

    """
    with connected(address) as broker:
        consumers = _consumers(broker, topology.command_queue)
        if consumers:
            raise QueueInUse(
                f"the queue {topology.command_queue} has {consumers} consumers: stop all workers first, "
                "they have the ledger that is noted on the broker"
            )
        record()
        channel = broker.channel()
        channel.exchange_delete(exchange_of(topology))
        channel.close()
        note(broker, topology, identity)


def _consumers(broker: Broker, queue: str) -> int:
    """Return how many consumers a queue has; none where there is no queue yet."""
    channel = broker.channel()
    try:
        found = channel.queue_declare(queue, passive=True)
    except NotFound:
        return 0
    channel.close()
    return int(found.consumer_count)
