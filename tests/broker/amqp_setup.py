"""The bridge's two ends of a broker, as the tests of this directory use them."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bridge.adapters.amqp.connection_thread import ConnectionOptions
from bridge.adapters.amqp.consumer import AmqpConsumer
from bridge.adapters.amqp.handshake import BrokerAddress
from bridge.adapters.amqp.publisher import AmqpPublisher
from bridge.adapters.clock import SystemClock
from bridge.app import parts
from bridge.domain.broker_url import read_broker_urls, split_urls
from bridge.domain.messages import Outgoing
from bridge.settings import Settings
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from bridge.domain.messages import Delivery
    from tests.harness.broker_client import BrokerClient

NAMES = parts.topology(Settings())


def address(url: str, *, heartbeat: float = 10.0, io_timeout: float = 10.0) -> BrokerAddress:
    """Return where the broker is, for somebody in a hurry."""
    nodes = read_broker_urls(split_urls(url))
    return BrokerAddress(nodes=nodes, connect_timeout=1.0, heartbeat=heartbeat, io_timeout=io_timeout)


def connection_options(url: str, name: str, *, heartbeat: float = 10.0) -> ConnectionOptions:
    """Return how something of that name connects to the broker; a crash fails the test."""
    return ConnectionOptions(address(url, heartbeat=heartbeat), name, SystemClock(), crashed)


def make_publisher(url: str, *, heartbeat: float = 10.0, **options: Any) -> AmqpPublisher:
    """Return a publisher that declares nothing unless asked to, not started."""
    topology = options.pop("topology", NAMES)
    return AmqpPublisher(
        connection_options(url, "publishes", heartbeat=heartbeat), topology, **{"declares": False, **options}
    )


def make_consumer(url: str, inbox: Inbox, *, heartbeat: float = 10.0, **options: Any) -> AmqpConsumer:
    """Return a consumer that declares nothing unless asked to, not started."""
    topology = options.pop("topology", NAMES)
    connection = connection_options(url, "consumes", heartbeat=heartbeat)
    connection = replace(connection, on_crash=options.pop("on_crash", crashed))
    return AmqpConsumer(connection, inbox, topology, **{"declares": False, "prefetch": 10, **options})


def crashed() -> None:
    """Fail whichever test made a link crash: pytest turns an exception of a thread into a warning, so an error."""
    raise AssertionError("the link crashed")


def make_command_queue(peer: BrokerClient) -> None:
    """Declare the queues of commands, without the 28 levels of the delay that the bridge makes beside them."""
    for queue in (NAMES.command_queue, NAMES.given_up_queue):
        peer.declare_queue(queue, {"x-queue-type": "quorum"})


def event(key: str, number: int, **options: Any) -> Outgoing:
    """Return a small event that can be told from the others by its id."""
    options = {"exchange": NAMES.events_exchange, "properties": {"message_id": f"{key}-{number}"}, **options}
    return Outgoing(routing_key=key, body=b"%d" % number, **options)


class StoredEvent:
    """Who was told, how often, on which thread."""

    def __init__(self) -> None:
        """Start with nobody."""
        self.times: Counter[object] = Counter()
        self.order: list[object] = []
        self.threads: set[int] = set()

    def of(self, name: object) -> Any:
        """Return the callback for the message `name`."""

        def confirmed() -> None:
            self.threads.add(threading.get_ident())
            self.order.append(name)
            self.times[name] += 1

        return confirmed

    def wait(self, *names: object, within: float = 10) -> None:
        """Wait until all of `names` were told."""
        wait_until(lambda: all(self.times[name] for name in names), within, what="all told")


class Inbox:
    """What a consumer received."""

    def __init__(self) -> None:
        """Start empty."""
        self.deliveries: list[Delivery] = []
        #: How many deliveries had come each time that all unsettled ones were lost.
        self.losses: list[int] = []
        #: Whether the test has sent its probe.
        self.probed = False

    def receive(self, delivery: Delivery) -> None:
        """Take a delivery."""
        self.deliveries.append(delivery)

    def lose(self) -> None:
        """Note that what came so far is lost."""
        self.losses.append(len(self.deliveries))

    def wait(self, number: int, within: float = 10) -> list[Delivery]:
        """Wait until `number` deliveries came, and return all."""
        wait_until(lambda: len(self.deliveries) >= number, within, what=f"{number} deliveries")
        return self.deliveries
