"""The thread under both ends: wakes up whenever somebody wants something, and rests otherwise."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from bridge.adapters.amqp.connection_thread import PROVEN, TICK, ConnectionThread
from tests.broker.amqp_setup import connection_options
from tests.harness.chaos_proxy import ChaosProxy
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from bridge.adapters.amqp.connection import Broker as Connection
    from tests.harness.broker import Broker

pytestmark = pytest.mark.broker


class Counting:
    """Counts its calls and takes what was left for it."""

    def __init__(self) -> None:
        self.left: list[threading.Event] = []
        self.calls = 0

    def opened(self, broker: Connection) -> None:
        """Need nothing."""

    def work(self, broker: Connection) -> None:
        """Tell everybody who left something."""
        self.calls += 1
        while self.left:
            self.left.pop().set()

    def lost(self) -> None:
        """Keep what was left."""


def test_no_wake_up_is_lost_among_many_threads_and_the_link_rests_afterwards(vhost_url: str) -> None:
    handler = Counting()
    connection = ConnectionThread(connection_options(vhost_url, "counts"), handler)
    connection.start()
    wait_until(lambda: connection.connected, what="a connection")
    latest: list[float] = []
    end = time.monotonic() + 2.0

    def ask() -> None:
        worst = 0.0
        while time.monotonic() < end:
            answered, began = threading.Event(), time.monotonic()
            handler.left.append(answered)
            connection.wake()
            answered.wait(5)
            worst = max(worst, time.monotonic() - began)
        latest.append(worst)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A lost wake-up would be found at the next tick only.
    before = handler.calls
    threading.Event().wait(2 * TICK)
    rested = handler.calls - before
    connection.stop(5)

    assert max(latest) < TICK
    assert rested <= 5


def test_a_node_that_falls_silent_is_given_up_for_the_next_address_long_before_its_heartbeats(
    rabbitmq: Broker, vhost: str
) -> None:
    with (
        ChaosProxy(("127.0.0.1", rabbitmq.port)) as first,
        ChaosProxy(("127.0.0.1", rabbitmq.port)) as second,
    ):
        urls = ",".join(rabbitmq.url(vhost, proxy.port) for proxy in (first, second))
        connection = ConnectionThread(connection_options(urls, "listens", heartbeat=60), Counting())
        connection.start()
        wait_until(lambda: connection.connected, what="a connection")
        first.black_hole()
        wait_until(
            lambda: second.counters.connections == 1 and connection.connected,
            within=30,
            what="the other node",
        )
        connection.stop(5)

        assert "has not answered" in connection.problem
        assert first.counters.connections == 1


def test_after_a_connection_that_was_closed_the_first_address_is_tried_again(
    rabbitmq: Broker, vhost: str
) -> None:
    with (
        ChaosProxy(("127.0.0.1", rabbitmq.port)) as first,
        ChaosProxy(("127.0.0.1", rabbitmq.port)) as second,
    ):
        urls = ",".join(rabbitmq.url(vhost, proxy.port) for proxy in (first, second))
        connection = ConnectionThread(connection_options(urls, "listens"), Counting())
        connection.start()
        wait_until(lambda: connection.connected, what="a connection")
        first.refuse()
        wait_until(lambda: second.counters.connections == 1 and connection.connected, what="the other node")
        # Longer than a connection must have lived to be good for something.
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > PROVEN, within=PROVEN + 5)
        first.pass_through()
        second.reset()
        wait_until(lambda: first.counters.connections >= 2 and connection.connected, what="the first node")
        connection.stop(5)

        assert second.counters.connections == 1
