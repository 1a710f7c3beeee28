"""The consumer against a real broker: whatever happens, it is a consumer of the queue again, once."""

from __future__ import annotations

import random
import struct
import threading
import time
from typing import TYPE_CHECKING, Any

import amqp as py_amqp
import pytest

from bridge.adapters.amqp.consumer_health import FORGOTTEN
from bridge.ports import Depth
from tests.broker.amqp_setup import (
    NAMES,
    Inbox,
    StoredEvent,
    event,
    make_command_queue,
    make_consumer,
    make_publisher,
)
from tests.harness.chaos_proxy import DOWN, UP, ChaosProxy
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.adapters.amqp.consumer import AmqpConsumer
    from tests.harness.broker import Broker
    from tests.harness.broker_client import BrokerClient

pytestmark = pytest.mark.broker

QUEUE = NAMES.command_queue


@pytest.fixture
def inbox() -> Inbox:
    """Receive the deliveries of the test."""
    return Inbox()


@pytest.fixture
def start(
    amqp: BrokerClient, vhost: str, rabbitmq: Broker, proxy: ChaosProxy, inbox: Inbox
) -> Iterator[Callable[..., AmqpConsumer]]:
    """Start consumers of the command queue behind the proxy, and stop them in the end."""
    started: list[AmqpConsumer] = []
    make_command_queue(amqp)

    def start(**options: Any) -> AmqpConsumer:
        consumer = make_consumer(rabbitmq.url(vhost, proxy.port), inbox, **options)
        started.append(consumer)
        consumer.start()
        wait_until(lambda: consumer.consuming, what="a consumer")
        return consumer

    yield start
    for consumer in started:
        consumer.stop()


def command(peer: BrokerClient, body: bytes | str, **properties: object) -> None:
    """Put a command on the queue."""
    peer.publish(body, exchange="", routing_key=QUEUE, **properties)  # type: ignore[arg-type]


def test_a_command_arrives_as_it_was_published_and_is_gone_when_acked(
    start: Callable[..., AmqpConsumer], inbox: Inbox, amqp: BrokerClient
) -> None:
    consumer = start()
    command(
        amqp, b"\xff\x00", message_id="m", reply_to="r", correlation_id="c", headers={"h": [1, {"a": None}]}
    )
    (delivery,) = inbox.wait(1)

    assert delivery.body == b"\xff\x00"
    assert delivery.properties.items() >= {"message_id": "m", "reply_to": "r", "correlation_id": "c"}.items()
    assert delivery.headers == {"h": [1, {"a": None}]}
    assert not delivery.redelivered
    assert not delivery.unreadable
    consumer.ack(delivery)
    consumer.flush()
    consumer.stop()
    assert amqp.depth(QUEUE) == 0


def test_any_body_arrives_whatever_its_encoding_is_said_to_be(
    start: Callable[..., AmqpConsumer], inbox: Inbox, amqp: BrokerClient
) -> None:
    bodies = [b"", b"{}", b"\xff\xfe"]
    start(prefetch=100)
    for encoding in ("utf-8", "utf-16", "gzip", "no such encoding", ""):
        for body in bodies:
            command(amqp, body, content_encoding=encoding)

    assert [delivery.body for delivery in inbox.wait(15)] == bodies * 5


def test_a_command_given_back_comes_again_and_says_so(
    start: Callable[..., AmqpConsumer], inbox: Inbox, amqp: BrokerClient
) -> None:
    consumer = start()
    command(amqp, "again")
    consumer.requeue(inbox.wait(1)[0])
    consumer.flush()
    second = inbox.wait(2)[1]
    consumer.ack(second)
    consumer.flush()
    consumer.stop()

    assert second.redelivered
    assert amqp.depth(QUEUE) == 0


class Raw(py_amqp.Message):  # type: ignore[misc]  # py-amqp has no types
    """A message with properties that py-amqp would not write."""

    def __init__(self, body: str, properties: bytes) -> None:
        super().__init__(body)
        self._raw = properties

    def _serialize_properties(self) -> bytes:
        return self._raw


def shortstr(flags: int, value: bytes) -> bytes:
    """Return property bytes with one short string."""
    return struct.pack(">HB", flags, len(value)) + value


def table(value: bytes) -> bytes:
    """Return property bytes with one header, `h`, whose type and value are given."""
    content = b"\x01h" + value
    return struct.pack(">HI", 0x2000, len(content)) + content


#: What RabbitMQ delivers as it came and py-amqp can't read, and which part of it that is.
UNREADABLE = {
    "a message id that is no UTF-8": (shortstr(0x0080, b"\xff\xfe"), "message_id"),
    "a reply_to that is no UTF-8": (shortstr(0x0200, b"\xc3"), "reply_to"),
    "a time past the year 9999": (table(b"T" + struct.pack(">Q", 2**62)), "headers.h"),
    "a time in milliseconds": (table(b"T" + struct.pack(">Q", 1_700_000_000_000_000)), "headers.h"),
}


def test_a_property_that_nobody_can_read_is_left_out_and_named(
    start: Callable[..., AmqpConsumer], inbox: Inbox, amqp: BrokerClient, proxy: ChaosProxy
) -> None:
    consumer = start()
    for name, (properties, _) in UNREADABLE.items():
        with amqp.channel() as channel:
            channel.basic_publish_confirm(Raw(name, properties), "", QUEUE)
    command(amqp, "probe")
    deliveries = inbox.wait(len(UNREADABLE) + 1)

    assert [delivery.body.decode() for delivery in deliveries] == [*UNREADABLE, "probe"]
    unreadable = [(part,) for _, part in UNREADABLE.values()]
    assert [delivery.unreadable for delivery in deliveries] == [*unreadable, ()]
    for delivery in deliveries:
        consumer.ack(delivery)
        consumer.flush()
    consumer.stop()
    assert amqp.depth(QUEUE) == 0
    assert proxy.counters.connections == 1


def _close(rabbitmq: Broker, vhost: str, proxy: ChaosProxy, amqp: BrokerClient) -> None:
    rabbitmq.close_connections(vhost)


def _reset(rabbitmq: Broker, vhost: str, proxy: ChaosProxy, amqp: BrokerClient) -> None:
    assert proxy.reset()


def _finish(rabbitmq: Broker, vhost: str, proxy: ChaosProxy, amqp: BrokerClient) -> None:
    assert proxy.finish()


def _delete_queue_for_a_while(rabbitmq: Broker, vhost: str, proxy: ChaosProxy, amqp: BrokerClient) -> None:
    amqp.delete(QUEUE)
    wait_until(lambda: proxy.counters.connections > 1, within=2, what="the broker's word")
    make_command_queue(amqp)


def _cut(direction: str) -> Callable[..., None]:
    def cut(rabbitmq: Broker, vhost: str, proxy: ChaosProxy, amqp: BrokerClient) -> None:
        proxy.cut_after(5, direction)
        command(amqp, "cut")
        wait_until(lambda: proxy.counters.cuts == 1, what="the cut")

    return cut


def _kill(rabbitmq: Broker, vhost: str, proxy: ChaosProxy, amqp: BrokerClient) -> None:
    rabbitmq.restart()


FAULTS = {
    "closed by the broker": _close,
    "reset": _reset,
    "finished": _finish,
    "queue deleted": _delete_queue_for_a_while,
    "cut in a delivery": _cut(DOWN),
    "cut in an ack": _cut(UP),
    "broker killed": _kill,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_after_any_fault_there_is_one_consumer_and_commands_arrive(
    fault: str,
    start: Callable[..., AmqpConsumer],
    inbox: Inbox,
    amqp: BrokerClient,
    rabbitmq: Broker,
    vhost: str,
    proxy: ChaosProxy,
) -> None:
    receive = inbox.receive

    def ack(delivery: Any) -> None:
        receive(delivery)
        consumer.ack(delivery)
        consumer.flush()

    inbox.receive = ack  # type: ignore[method-assign]
    consumer = start()
    command(amqp, "before")
    inbox.wait(1)
    FAULTS[fault](rabbitmq, vhost, proxy, amqp)
    began = time.monotonic()
    wait_until(lambda: "probe" in probed(amqp, inbox), what="a probe through")

    assert time.monotonic() - began < 10
    assert rabbitmq.consumers(vhost, QUEUE) == 1
    assert consumer.consuming


def probed(amqp: BrokerClient, inbox: Inbox) -> set[str]:
    """Send a probe, unless it was sent, and return all that arrived."""
    if not inbox.probed:
        try:
            command(amqp, "probe")
        except (OSError, py_amqp.exceptions.AMQPError):
            return set()
        inbox.probed = True
    return {delivery.body.decode() for delivery in inbox.deliveries}


def test_a_consumer_that_the_broker_has_forgotten_without_a_word_comes_back(
    start: Callable[..., AmqpConsumer], inbox: Inbox, amqp: BrokerClient, rabbitmq: Broker, vhost: str
) -> None:
    consumer = start()
    consumer._channel.send_method(py_amqp.spec.Basic.Cancel, "sb", (next(iter(consumer._consumers)), True))
    wait_until(lambda: rabbitmq.consumers(vhost, QUEUE) == 0, what="no consumer")
    command(amqp, "waits")

    assert inbox.wait(1, within=FORGOTTEN + 10)[0].body == b"waits"
    assert rabbitmq.consumers(vhost, QUEUE) == 1


def test_an_ack_for_an_older_connection_is_not_sent_on_the_new_one(
    start: Callable[..., AmqpConsumer], inbox: Inbox, amqp: BrokerClient, proxy: ChaosProxy
) -> None:
    consumer = start()
    command(amqp, "one")
    command(amqp, "two")
    old = list(inbox.wait(2))
    proxy.reset()
    new = inbox.wait(4)[2:]
    for delivery in old:
        consumer.ack(delivery)
        consumer.flush()
    command(amqp, "probe")
    inbox.wait(5)

    # An ack of a tag that the broker does not know would end the channel, one that it knows take the wrong command.
    assert proxy.counters.connections == 2
    assert [delivery.redelivered for delivery in new] == [True, True]
    consumer.stop()
    assert len(amqp.take(QUEUE, 3)) == 3


def test_heartbeats_go_on_while_nothing_comes_and_while_commands_are_held(
    start: Callable[..., AmqpConsumer], inbox: Inbox, amqp: BrokerClient, proxy: ChaosProxy
) -> None:
    consumer = start(heartbeat=2)
    for held in (False, True):
        if held:
            command(amqp, "held")
            inbox.wait(1)
        due = proxy.counters.passed[DOWN] + 3 * 8
        wait_until(lambda due=due: proxy.counters.passed[DOWN] >= due, what="three heartbeats")  # type: ignore[misc]
    consumer.ack(inbox.deliveries[0])
    consumer.flush()
    consumer.stop()

    assert proxy.counters.connections == 1
    assert amqp.depth(QUEUE) == 0


def test_no_more_commands_are_held_than_the_prefetch_allows(
    start: Callable[..., AmqpConsumer], inbox: Inbox, amqp: BrokerClient
) -> None:
    for number in range(30):
        command(amqp, str(number))
    consumer = start(prefetch=10)
    inbox.wait(10)
    consumer.ack(inbox.deliveries[0])
    consumer.flush()
    inbox.wait(11)

    assert amqp.depth(QUEUE) == 19
    assert len(inbox.deliveries) == 11


@pytest.mark.parametrize("seed", range(5))
def test_in_whatever_order_commands_are_settled_those_alone_are_gone_that_were_acked(
    seed: int, start: Callable[..., AmqpConsumer], inbox: Inbox, amqp: BrokerClient
) -> None:
    chance = random.Random(seed)
    for number in range(60):
        command(amqp, str(number))
    consumer = start(prefetch=60)
    deliveries = inbox.wait(60)
    acked = set(chance.sample(range(60), 40))
    moment = threading.Event()
    for number in chance.sample(sorted(acked), 40):
        consumer.ack(deliveries[number])
        consumer.flush()
        if chance.random() < 0.2:
            # Several ways of the acks falling together.
            moment.wait(0.005)
    wait_until(lambda: not consumer._settlements, what="all settled")
    consumer.stop()
    wait_until(lambda: amqp.depth(QUEUE) == 20, what="the rest is back")
    left = {int(message.body) for message in amqp.take(QUEUE, 20)}

    assert left == set(range(60)) - acked


def test_a_consumer_that_pauses_again_and_again_holds_no_more_than_the_prefetch_allows(
    start: Callable[..., AmqpConsumer], inbox: Inbox, amqp: BrokerClient
) -> None:
    for number in range(30):
        command(amqp, str(number))
    consumer = start(prefetch=10)
    inbox.wait(10)
    moment = threading.Event()
    for delivery in inbox.deliveries[:5]:
        consumer.pause()
        wait_until(lambda: not consumer.consuming, what="no consumer")
        consumer.ack(delivery)
        consumer.flush()
        consumer.resume()
        moment.wait(0.1)
    first = len(inbox.wait(15))
    for delivery in inbox.deliveries[5:10]:
        consumer.ack(delivery)
        consumer.flush()
    second = len(inbox.wait(20))
    moment.wait(0.2)

    assert (first, second) == (15, 20)
    assert len(inbox.deliveries) == 20, "no more come than are settled"
    consumer.stop()
    wait_until(lambda: amqp.depth(QUEUE) == 20, what="what was not settled is back")


def test_a_paused_consumer_gets_nothing_and_settles_what_it_holds(
    start: Callable[..., AmqpConsumer], inbox: Inbox, amqp: BrokerClient
) -> None:
    consumer = start()
    command(amqp, "one")
    (held,) = inbox.wait(1)
    consumer.pause()
    wait_until(lambda: not consumer.consuming, what="no consumer")
    consumer.ack(held)
    consumer.flush()
    command(amqp, "two")
    wait_until(lambda: amqp.depth(QUEUE) == 1, what="one command waits")

    assert len(inbox.deliveries) == 1
    assert not consumer.consuming
    consumer.resume()
    assert inbox.wait(2)[1].body == b"two"


def test_deliveries_in_flight_at_the_end_of_the_consumer_are_not_lost(
    start: Callable[..., AmqpConsumer], inbox: Inbox, amqp: BrokerClient, proxy: ChaosProxy
) -> None:
    consumer = start(prefetch=10)
    proxy.delay(0.5)
    for number in range(30):
        command(amqp, str(number))
    consumer.pause()
    inbox.wait(10)
    proxy.pass_through()
    wait_until(lambda: not consumer.consuming, what="no consumer")
    consumer.resume()
    before = consumer.iterations
    wait_until(lambda: consumer.iterations > before + 2, what="the link has seen it")
    first = list(inbox.deliveries)
    for delivery in first:
        consumer.ack(delivery)
    consumer.flush()
    inbox.wait(20)
    consumer.stop()
    wait_until(lambda: amqp.depth(QUEUE) == 20, what="what was not settled is back")

    assert [int(delivery.body) for delivery in first] == list(range(10)), "no more than the prefetch allows"
    assert not any(delivery.redelivered for delivery in inbox.deliveries)


def test_nothing_waits_for_a_queue_without_its_leader_to_end_a_consumer(
    start: Callable[..., AmqpConsumer], amqp: BrokerClient, rabbitmq: Broker, vhost: str
) -> None:
    consumer = start()
    with rabbitmq.without_leader(vhost, QUEUE):
        consumer.pause()
        before = consumer.iterations
        wait_until(lambda: consumer.iterations > before + 3, within=5, what="the link goes on")

        assert consumer.consuming, "the broker has not said that it is none"
    wait_until(lambda: not consumer.consuming, what="no consumer")
    assert consumer.connected
    consumer.resume()
    wait_until(lambda: consumer.consuming, what="a consumer")


def test_a_consumer_knows_how_many_wait_also_while_it_takes_none(
    start: Callable[..., AmqpConsumer], amqp: BrokerClient
) -> None:
    consumer = start()
    wait_until(lambda: consumer.depth == Depth(0, 1), what="an empty queue and its consumer")
    consumer.pause()
    wait_until(lambda: consumer.depth == Depth(0, 0), what="no consumer")
    for number in range(3):
        command(amqp, str(number))
    wait_until(lambda: consumer.depth == Depth(3, 0), what="three that nobody takes")
    consumer.stop()

    assert consumer.depth is None


def test_a_backlog_of_5000_is_worked_off(
    start: Callable[..., AmqpConsumer], amqp: BrokerClient, inbox: Inbox
) -> None:
    publisher, confirmed = make_publisher(amqp.url), StoredEvent()
    consumer = start(prefetch=100)
    consumer.pause()
    publisher.start()
    for number in range(5_000):
        publisher.publish(event(QUEUE, number, exchange=""), confirmed.of(number))
    confirmed.wait(*range(5_000), within=20)
    publisher.stop()
    consumer.resume()
    done = 0
    while done < 5_000:
        for delivery in inbox.wait(done + 1)[done:]:
            consumer.ack(delivery)
            consumer.flush()
            done += 1
    consumer.stop()

    # With a prefetch of 100 all of them come only where acks go out. (The broker may hand out the last once more: it
    # forgets acks that it holds back when the connection ends.)
    assert [int(delivery.body) for delivery in inbox.deliveries[:5_000]] == list(range(5_000))


def test_a_mistake_of_ours_ends_the_link_and_says_so(
    amqp: BrokerClient, rabbitmq: Broker, vhost: str
) -> None:
    make_command_queue(amqp)
    crashed = threading.Event()
    inbox = Inbox()
    inbox.receive = {}.__getitem__  # type: ignore[method-assign, assignment]
    consumer = make_consumer(amqp.url, inbox, on_crash=crashed.set)
    consumer.start()
    command(amqp, "x")

    assert crashed.wait(10)
    assert not consumer.connected
    # The broker has the command back at once, for another worker.
    wait_until(lambda: amqp.depth(QUEUE) == 1, what="the command on its queue")
