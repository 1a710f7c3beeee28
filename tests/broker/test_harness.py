"""The suite's own RabbitMQ: isolated, able to be killed, frozen and alarmed, and gone afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import amqp as py_amqp
import pytest
from amqp.exceptions import ConnectionForced

from tests.harness.broker_client import BrokerClient, Unrouted
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from tests.harness.broker import Broker

pytestmark = pytest.mark.broker

QUORUM = {"x-queue-type": "quorum"}


def test_two_virtual_hosts_do_not_see_each_other(rabbitmq: Broker) -> None:
    with (
        BrokerClient(rabbitmq.url(rabbitmq.new_vhost())) as here,
        BrokerClient(rabbitmq.url(rabbitmq.new_vhost())) as there,
    ):
        here.declare_queue("q")

        assert here.exists("q")
        assert not there.exists("q")


def test_there_are_more_virtual_hosts_than_one_pool_holds(rabbitmq: Broker) -> None:
    names = [rabbitmq.new_vhost() for _ in range(20)]
    with BrokerClient(rabbitmq.url(names[-1])) as peer:
        peer.declare_queue("q")

        assert peer.exists("q")
    assert len(set(names)) == 20


def test_a_message_comes_back_as_it_was_published(amqp: BrokerClient) -> None:
    amqp.declare_queue("q")
    amqp.publish(
        b"\x00raw", exchange="", routing_key="q", headers={"h": 1}, message_id="m", content_type="text/x"
    )
    (message,) = amqp.take("q")

    assert message.body == b"\x00raw"
    assert message.headers == {"h": 1}
    assert message.properties["message_id"] == "m"
    assert message.properties["content_type"] == "text/x"
    assert message.properties["delivery_mode"] == 2
    assert not message.redelivered
    assert amqp.depth("q") == 0


def test_events_are_collected_from_the_start(amqp: BrokerClient) -> None:
    amqp.publish({"n": 1}, exchange="sms.events", routing_key="sms.outbound.sent")

    assert amqp.events() == [{"n": 1}]


def test_an_unrouted_message_is_told(amqp: BrokerClient) -> None:
    with pytest.raises(Unrouted):
        amqp.publish(b"{}", exchange="", routing_key="nobody")


def test_messages_that_do_not_come_are_an_assertion_with_what_came(amqp: BrokerClient) -> None:
    amqp.publish({"n": 1}, exchange="sms.events", routing_key="a")

    with pytest.raises(AssertionError, match="1 came"):
        amqp.events(2, within=0.2)


def test_a_confirmed_message_survives_kill_9(rabbitmq: Broker, amqp: BrokerClient) -> None:
    amqp.declare_queue("q", QUORUM)
    amqp.publish(b"safe", exchange="", routing_key="q")
    before = rabbitmq.pid
    rabbitmq.restart()

    assert rabbitmq.pid != before
    assert [message.body for message in amqp.take("q")] == [b"safe"]


def test_a_broker_stopped_in_order_comes_back_on_the_same_port(rabbitmq: Broker, amqp: BrokerClient) -> None:
    rabbitmq.terminate()

    assert not rabbitmq.running
    with pytest.raises(OSError, match="refused"):
        BrokerClient(amqp.url).depth("q")
    rabbitmq.start()
    assert amqp.depth("test.events") == 0


def test_a_frozen_broker_answers_again_when_thawed(rabbitmq: Broker, vhost_url: str) -> None:
    connection = py_amqp.Connection(f"127.0.0.1:{rabbitmq.port}", connect_timeout=0.5, read_timeout=0.5)
    with rabbitmq.frozen(), pytest.raises(OSError):  # noqa: PT011 - a timeout in one of several places
        connection.connect()
    with BrokerClient(vhost_url) as peer:
        peer.declare_queue("q")

        assert peer.exists("q")


@pytest.mark.parametrize("alarm", ["memory_alarm", "disk_alarm"])
def test_an_alarm_blocks_publishers_and_ends(alarm: str, rabbitmq: Broker, amqp: BrokerClient) -> None:
    blocked: list[str] = []
    connection = py_amqp.Connection(
        f"127.0.0.1:{rabbitmq.port}", virtual_host=amqp.url.rpartition("/")[2], read_timeout=5,
        confirm_publish=True, on_blocked=blocked.append,
    )  # fmt: skip
    connection.connect()
    channel = connection.channel()
    with getattr(rabbitmq, alarm)():
        with pytest.raises(TimeoutError):
            channel.basic_publish_confirm(
                py_amqp.Message("x"), "sms.events", "k", timeout=1, confirm_timeout=1
            )

        assert blocked
    connection.collect()
    # The broker stores what came while it was blocked: the message that "timed out" is there.
    amqp.publish({"n": 2}, exchange="sms.events", routing_key="k")
    assert [message.body for message in amqp.take("test.events", 2)] == [b"x", b'{"n": 2}']


def test_consumers_and_connections_are_counted_and_can_be_cut(
    rabbitmq: Broker, vhost: str, amqp: BrokerClient
) -> None:
    amqp.declare_queue("q")
    connection = py_amqp.Connection(f"127.0.0.1:{rabbitmq.port}", virtual_host=vhost, read_timeout=5)
    connection.connect()
    connection.channel().basic_consume("q")

    assert rabbitmq.consumers(vhost, "q") == amqp.consumers("q") == 1
    assert rabbitmq.connections(vhost) == 2
    rabbitmq.close_connections(vhost)
    with pytest.raises(ConnectionForced):
        connection.drain_events(timeout=5)
    connection.collect()
    assert amqp.consumers("q") == 0


SCRIPT = """
from tests.harness.broker import Broker
import sys
broker = Broker()
broker.start()
print(broker.pid, broker._epmd.pid, broker.home, flush=True)
sys.stdin.read()
"""


def test_nothing_is_left_when_the_suite_itself_is_killed() -> None:
    suite = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert suite.stdin
    assert suite.stdout
    with suite.stdin, suite.stdout:
        beam, epmd, home = suite.stdout.readline().split()
        suite.send_signal(signal.SIGKILL)
        suite.wait(timeout=10)

    wait_until(lambda: not _alive(int(beam)) and not _alive(int(epmd)), what="no broker, no epmd")
    wait_until(lambda: not Path(home).exists(), what="no directory")


def _alive(pid: int) -> bool:
    """Whether `pid` runs; a zombie that its new parent has not collected yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return not state.stdout.startswith("Z")
