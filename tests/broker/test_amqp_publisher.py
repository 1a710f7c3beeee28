"""The publisher against a real broker: told means stored, whatever happens on the way."""

from __future__ import annotations

import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from bridge.adapters.amqp.connection import BROKER_ERRORS
from bridge.domain.messages import Outgoing
from tests.broker.amqp_setup import NAMES, StoredEvent, event, make_publisher
from tests.harness.chaos_proxy import DOWN, UP, ChaosProxy
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.adapters.amqp.publisher import AmqpPublisher
    from tests.harness.broker import Broker
    from tests.harness.broker_client import BrokerClient

pytestmark = pytest.mark.broker


@pytest.fixture
def start() -> Iterator[Callable[..., AmqpPublisher]]:
    """Start publishers, connected, and stop them in the end."""
    started: list[AmqpPublisher] = []

    def start(url: str, **options: Any) -> AmqpPublisher:
        publisher = make_publisher(url, **options)
        started.append(publisher)
        publisher.start()
        wait_until(lambda: publisher.available, what="a connection")
        return publisher

    yield start
    for publisher in started:
        publisher.stop()


def stored(peer: BrokerClient, number: int, queue: str = "test.events", within: float = 20) -> list[str]:
    """Take `number` messages and return their ids."""
    return [message.properties["message_id"] for message in peer.take(queue, number, within)]


def all_stored(peer: BrokerClient, queue: str = "test.events") -> list[str]:
    """Take all messages and return their ids, copies included."""
    return stored(peer, peer.depth(queue), queue)


def test_messages_of_four_threads_are_each_told_once_and_stored_in_the_order_of_their_thread(
    start: Callable[..., AmqpPublisher], amqp: BrokerClient
) -> None:
    publisher, confirmed = start(amqp.url), StoredEvent()

    def publish(thread: int) -> None:
        for number in range(250):
            publisher.publish(event(f"k{thread}", number), confirmed.of((thread, number)))

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    names = [(thread, number) for thread in range(4) for number in range(250)]
    confirmed.wait(*names)
    ids = all_stored(amqp)

    assert set(confirmed.times.values()) == {1}
    for thread in range(4):
        assert [i for i in ids if i.startswith(f"k{thread}-")] == [f"k{thread}-{n}" for n in range(250)]
    assert threading.get_ident() not in confirmed.threads


def test_an_idle_connection_stays_and_answers_at_once(
    start: Callable[..., AmqpPublisher], amqp: BrokerClient, rabbitmq: Broker, proxy: ChaosProxy
) -> None:
    publisher, confirmed = (
        start(rabbitmq.url(amqp.url.rpartition("/")[2], proxy.port), heartbeat=2),
        StoredEvent(),
    )
    before = proxy.counters.passed[DOWN]
    wait_until(lambda: proxy.counters.passed[DOWN] - before >= 3 * 8, what="three heartbeats")
    began = time.monotonic()
    publisher.publish(event("k", 1), confirmed.of(1))
    confirmed.wait(1)

    assert time.monotonic() - began < 0.3
    assert proxy.counters.connections == 1


def test_a_lost_confirm_confirms_nothing_else_and_the_message_is_published_again(
    start: Callable[..., AmqpPublisher], amqp: BrokerClient, rabbitmq: Broker, proxy: ChaosProxy
) -> None:
    amqp.declare_queue("full", {"x-max-length": 1, "x-overflow": "reject-publish"})
    amqp.publish(b"in the way", exchange="", routing_key="full")
    url = rabbitmq.url(amqp.url.rpartition("/")[2], proxy.port)
    publisher, confirmed = start(url, deadline=1.0), StoredEvent()
    proxy.black_hole(DOWN)
    publisher.publish(event("k", 1), confirmed.of("first"))
    wait_until(lambda: amqp.depth("test.events") == 1, what="the message on its queue")
    publisher.publish(event("full", 2, exchange=""), confirmed.of("second"))
    wait_until(lambda: not publisher.connected, what="distrust")

    assert not confirmed.times
    assert proxy.counters.swallowed[DOWN]
    proxy.pass_through()
    confirmed.wait("first")
    # The second was refused on both connections; a confirm that is matched by its place would have told it.
    assert confirmed.order == ["first"]
    amqp.purge("full")
    confirmed.wait("second")
    assert set(all_stored(amqp)) == {"k-1"}
    assert confirmed.order == ["first", "second"]


def test_a_confirm_is_that_of_its_own_message(
    start: Callable[..., AmqpPublisher], amqp: BrokerClient, rabbitmq: Broker, vhost: str
) -> None:
    amqp.declare_queue("slow", {"x-queue-type": "quorum"})
    amqp.bind("slow", "sms.events", "slow")
    publisher, confirmed = start(amqp.url), StoredEvent()
    # From now on the channel waits for no answer of the queue's leader before it goes on.
    publisher.publish(event("slow", 0), confirmed.of("before"))
    confirmed.wait("before")
    with rabbitmq.without_leader(vhost, "slow"):
        publisher.publish(event("slow", 1), confirmed.of("first"))
        publisher.publish(event("k", 2), confirmed.of("second"))
        wait_until(lambda: confirmed.order[1:], what="a confirm")

        assert confirmed.order == ["before", "second"]
    confirmed.wait("first")


def test_a_frozen_broker_is_noticed_and_its_late_confirms_are_matched(
    start: Callable[..., AmqpPublisher], amqp: BrokerClient, rabbitmq: Broker
) -> None:
    publisher, confirmed = start(amqp.url, deadline=1.5), StoredEvent()
    with rabbitmq.frozen():
        for number in range(100):
            publisher.publish(event("k", number), confirmed.of(number))
        wait_until(lambda: not publisher.available, within=1.4, what="unavailable before the deadline")
        wait_until(lambda: not publisher.connected, within=1.6, what="distrust")
        publisher.publish(event("k", 100), confirmed.of(100))

        assert not confirmed.times
    confirmed.wait(*range(101))
    assert set(confirmed.times.values()) == {1}
    assert set(all_stored(amqp)) == {f"k-{number}" for number in range(101)}


def test_a_memory_alarm_holds_messages_and_keeps_the_connection(
    start: Callable[..., AmqpPublisher], amqp: BrokerClient, rabbitmq: Broker, proxy: ChaosProxy
) -> None:
    url = rabbitmq.url(amqp.url.rpartition("/")[2], proxy.port)
    publisher, confirmed = start(url, deadline=1.0, heartbeat=2), StoredEvent()
    big = b"x" * 40_000
    with rabbitmq.memory_alarm():
        for number in range(300):
            message = Outgoing(
                exchange="sms.events", routing_key="k", body=big, properties={"message_id": str(number)}
            )
            publisher.publish(message, confirmed.of(number))
        wait_until(lambda: publisher.blocked, what="blocked")

        assert not publisher.available
        # Longer than the deadline, two heartbeats and what TCP is told to wait for an answer.
        threading.Event().wait(3.0)
        assert publisher.connected
        assert not confirmed.times
    confirmed.wait(*range(300))
    assert publisher.available
    assert not publisher.blocked
    assert set(confirmed.times.values()) == {1}
    assert proxy.counters.connections == 1
    assert amqp.depth("test.events") == 300


def test_unroutable_message_goes_to_its_fallback_and_is_confirmed(
    start: Callable[..., AmqpPublisher], amqp: BrokerClient
) -> None:
    amqp.unbind("test.events", "sms.events", "#")
    amqp.bind("test.events", "sms.events", "routed")
    amqp.declare_queue("sms.unrouted")
    counted: list[None] = []
    publisher, confirmed = start(amqp.url, unrouted=lambda: counted.append(None)), StoredEvent()
    for number in range(50):
        key = "routed" if number % 2 else "unrouted"
        # All the same bytes: only their keys tell them apart.
        message = Outgoing(exchange="sms.events", routing_key=key, body=b"{}", fallback="sms.unrouted")
        publisher.publish(message, confirmed.of(number))
    publisher.publish(event("nobody", 1, exchange="", droppable=True), confirmed.of("dropped"))
    confirmed.wait("dropped", *range(50))

    assert set(confirmed.times.values()) == {1}
    assert amqp.depth("test.events") == amqp.depth("sms.unrouted") == len(counted) == 25


def test_a_refused_message_is_tried_until_there_is_room_and_the_others_go_on(
    start: Callable[..., AmqpPublisher], amqp: BrokerClient
) -> None:
    amqp.declare_queue("full", {"x-max-length": 1, "x-overflow": "reject-publish"})
    publisher, confirmed = start(amqp.url), StoredEvent()
    amqp.publish(b"in the way", exchange="", routing_key="full")
    for number in range(3):
        publisher.publish(event("full", number, exchange=""), confirmed.of(("full", number)))
        publisher.publish(event("k", number), confirmed.of(number))
    confirmed.wait(0, 1, 2)

    assert confirmed.order == [0, 1, 2]
    amqp.delete("full")
    amqp.declare_queue("full")
    confirmed.wait(*[("full", number) for number in range(3)])
    assert stored(amqp, 3, "full") == ["full-0", "full-1", "full-2"]
    assert set(confirmed.times.values()) == {1}


def test_droppable_message_that_ends_the_connection_is_dropped(
    start: Callable[..., AmqpPublisher], amqp: BrokerClient, rabbitmq: Broker, proxy: ChaosProxy
) -> None:
    amqp.declare_queue("answers")
    publisher, confirmed = start(rabbitmq.url(amqp.url.rpartition("/")[2], proxy.port)), StoredEvent()
    # RabbitMQ reads a process of its own from the rest, and fails where there is none.
    publisher.publish(event("amq.rabbitmq.reply-to.!.x", 0, exchange="", droppable=True), confirmed.of("bad"))
    publisher.publish(event("answers", 1, exchange="", droppable=True), confirmed.of("good"))
    for number in range(20):
        publisher.publish(event("k", number), confirmed.of(number))
    confirmed.wait("bad", "good", *range(20))

    assert proxy.counters.connections > 1
    assert set(confirmed.times.values()) == {1}
    assert set(all_stored(amqp, "answers")) == {"answers-1"}
    assert set(all_stored(amqp)) == {f"k-{number}" for number in range(20)}


def test_message_that_ends_the_connection_is_kept_and_does_not_block_others(
    start: Callable[..., AmqpPublisher], amqp: BrokerClient
) -> None:
    publisher, confirmed = start(amqp.url), StoredEvent()
    bad = [("bad", number) for number in range(3)]
    with capture_logs() as lines:
        for name in bad:
            publisher.publish(event("k", name[1], exchange="not-yet"), confirmed.of(name))
        for number in range(20):
            publisher.publish(event("k", number), confirmed.of(number))
        confirmed.wait(*range(20), within=90)
    refused = {line["message_id"] for line in lines if line["event"] == "message.refused"}
    # Once all three are known for what they are, others hardly notice.
    for number in range(20, 30):
        publisher.publish(event("k", number), confirmed.of(number))
        confirmed.wait(number, within=15)

    assert not any(confirmed.times[name] for name in bad)
    assert refused == {"k-0", "k-1", "k-2"}
    # And they are not forgotten.
    amqp.collect("not-yet", "later")
    confirmed.wait(*bad, within=120)
    assert sorted(stored(amqp, 3, "later")) == ["k-0", "k-1", "k-2"]
    assert set(confirmed.times.values()) == {1}


def test_droppable_message_is_dropped_where_its_queue_is_full(
    start: Callable[..., AmqpPublisher], amqp: BrokerClient
) -> None:
    amqp.declare_queue("full", {"x-max-length": 1, "x-overflow": "reject-publish"})
    publisher, confirmed = start(amqp.url), StoredEvent()
    amqp.publish(b"in the way", exchange="", routing_key="full")
    publisher.publish(event("full", 1, exchange="", droppable=True), confirmed.of("dropped"))
    confirmed.wait("dropped")

    assert amqp.depth("full") == 1


def test_a_message_for_an_exchange_that_is_missing_waits_without_haste_until_it_is_there(
    start: Callable[..., AmqpPublisher], amqp: BrokerClient, rabbitmq: Broker, proxy: ChaosProxy
) -> None:
    url = rabbitmq.url(amqp.url.rpartition("/")[2], proxy.port)
    publisher, confirmed = start(url), StoredEvent()
    publisher.publish(event("k", 1, exchange="later"), confirmed.of(1))
    wait_until(lambda: proxy.counters.connections >= 3, what="a third try")
    # 0.1 to 0.2 s, then 0.2 to 0.4 s, then longer: five more seconds bring few more.
    threading.Event().wait(1.0)

    assert proxy.counters.connections <= 8
    assert not confirmed.times
    amqp.collect("later", "later")
    confirmed.wait(1, within=60)
    assert stored(amqp, 1, "later") == ["k-1"]


def test_a_binding_that_is_missing_holds_only_its_own_message(
    start: Callable[..., AmqpPublisher], amqp: BrokerClient, rabbitmq: Broker, proxy: ChaosProxy
) -> None:
    url = rabbitmq.url(amqp.url.rpartition("/")[2], proxy.port)
    publisher, confirmed = start(url), StoredEvent()
    publisher.publish(event("nobody", 1, exchange=""), confirmed.of("nobody"))
    for number in range(10):
        publisher.publish(event("k", number), confirmed.of(number))
    confirmed.wait(*range(10))

    assert "nobody" not in confirmed.times
    amqp.declare_queue("nobody")
    confirmed.wait("nobody")
    assert stored(amqp, 1, "nobody") == ["nobody-1"]
    assert amqp.depth("test.events") == 10
    assert proxy.counters.connections == 1


def test_deleted_queue_and_exchange_are_declared_again_for_their_message(
    start: Callable[..., AmqpPublisher], amqp: BrokerClient
) -> None:
    publisher, confirmed = start(amqp.url, declares=True), StoredEvent()
    amqp.delete("sms.dead")
    # In one batch with others, which the broker may confirm all at once.
    for number in range(100):
        publisher.publish(event("k", number), confirmed.of(number))
        if number == 50:
            publisher.publish(event("sms.dead", 1, exchange=""), confirmed.of("dead"))
    confirmed.wait("dead", *range(100))
    with amqp.channel() as channel:
        channel.exchange_delete("sms.events")
    publisher.publish(event("k", 2, fallback="sms.unrouted"), confirmed.of("event"))
    confirmed.wait("event")

    assert stored(amqp, 1, "sms.dead") == ["sms.dead-1"]
    assert stored(amqp, 1, "sms.unrouted") == ["k-2"]


def test_a_queue_of_the_delay_without_its_leader_holds_up_no_event(
    start: Callable[..., AmqpPublisher], amqp: BrokerClient, rabbitmq: Broker, vhost: str
) -> None:
    publisher, confirmed = start(amqp.url, declares=True), StoredEvent()
    with rabbitmq.without_leader(vhost, "sms_celery_delayed_1"):
        delayed = event("send", 1, exchange=NAMES.commands_exchange, delay=2)
        publisher.publish(delayed, confirmed.of("delayed"))
        for number in range(20):
            publisher.publish(event("k", number), confirmed.of(number))
        confirmed.wait(*range(20))

        assert not confirmed.times["delayed"]
        assert publisher.available
    confirmed.wait("delayed")
    assert amqp.take(NAMES.command_queue)[0].body == b"1"


def test_a_reply_to_a_queue_without_its_leader_holds_up_no_event_and_is_dropped(
    start: Callable[..., AmqpPublisher], amqp: BrokerClient, rabbitmq: Broker, vhost: str, proxy: ChaosProxy
) -> None:
    amqp.declare_queue("answers", {"x-queue-type": "quorum"})
    publisher, confirmed = start(rabbitmq.url(vhost, proxy.port), deadline=4.0), StoredEvent()
    with rabbitmq.without_leader(vhost, "answers"):
        publisher.publish(event("answers", 1, exchange="", droppable=True), confirmed.of("reply"))
        publisher.publish(event("k", 0), confirmed.of(0))
        confirmed.wait(0)
        # From now on the reply may be why the connection was lost.
        proxy.reset()
        wait_until(lambda: not publisher.connected, what="a lost connection")
        for number in range(1, 20):
            publisher.publish(event("k", number), confirmed.of(number))
        confirmed.wait(*range(1, 20))
        connections = proxy.counters.connections

        assert not confirmed.times["reply"]
        confirmed.wait("reply")
        assert proxy.counters.connections == connections
    assert set(confirmed.times.values()) == {1}


def test_500_messages_survive_kill_9_of_the_broker(
    start: Callable[..., AmqpPublisher], amqp: BrokerClient, rabbitmq: Broker
) -> None:
    amqp.declare_queue("events", {"x-queue-type": "quorum"})
    publisher, confirmed = start(amqp.url), StoredEvent()
    rabbitmq.settle()
    done = threading.Event()

    def publish() -> None:
        for number in range(500):
            publisher.publish(event("events", number, exchange=""), confirmed.of(number))
            if number == 100:
                done.set()

    thread = threading.Thread(target=publish)
    thread.start()
    done.wait(5)
    rabbitmq.kill(settle=False)
    thread.join()
    in_flight = 500 - len(confirmed.times)
    rabbitmq.start()
    confirmed.wait(*range(500), within=20)
    # Counts lag after a restart: take the 500, then whatever copies there are.
    ids = stored(amqp, 500, "events")
    while message := amqp.get("events"):
        ids.append(message.properties["message_id"])

    assert in_flight > 0
    assert set(confirmed.times.values()) == {1}
    assert set(ids) == {f"events-{number}" for number in range(500)}


def test_no_message_is_suspected_where_the_broker_confirms_nothing(
    start: Callable[..., AmqpPublisher], amqp: BrokerClient, rabbitmq: Broker, vhost: str, proxy: ChaosProxy
) -> None:
    amqp.declare_queue("slow", {"x-queue-type": "quorum"})
    amqp.bind("slow", "sms.events", "slow")
    publisher, confirmed = start(rabbitmq.url(vhost, proxy.port), deadline=0.5), StoredEvent()
    with capture_logs() as lines:
        with rabbitmq.without_leader(vhost, "slow"):
            for number in range(3):
                publisher.publish(event("slow", number), confirmed.of(number))
            wait_until(lambda: proxy.counters.connections > 5, 30, what="connections that were given up")
        confirmed.wait(*range(3))

    assert [line for line in lines if line["event"] == "message.refused"] == []


def test_a_connection_that_is_lost_counts_as_out_of_service_after_a_while_alone(
    start: Callable[..., AmqpPublisher], rabbitmq: Broker, vhost: str, proxy: ChaosProxy
) -> None:
    publisher = start(rabbitmq.url(vhost, proxy.port))
    proxy.refuse()
    wait_until(lambda: not publisher.available, every=0.01, what="a lost connection")
    at_once = publisher.out_of_service
    wait_until(lambda: publisher.out_of_service, what="out of service")
    proxy.pass_through()
    wait_until(lambda: publisher.available, what="a connection")

    assert not at_once
    assert not publisher.out_of_service


def test_a_half_open_connection_is_noticed_within_two_and_a_half_heartbeats(
    start: Callable[..., AmqpPublisher], amqp: BrokerClient, rabbitmq: Broker, proxy: ChaosProxy
) -> None:
    url = rabbitmq.url(amqp.url.rpartition("/")[2], proxy.port)
    publisher, confirmed = start(url, heartbeat=3), StoredEvent()
    proxy.black_hole()
    began = time.monotonic()
    wait_until(lambda: not publisher.connected, within=7.5, what="the half-open connection noticed")

    assert time.monotonic() - began > 1.0
    publisher.publish(event("k", 1), confirmed.of(1))
    proxy.pass_through()
    confirmed.wait(1)


@pytest.mark.parametrize("cut", [5, 30, 150])
def test_a_connection_cut_in_the_middle_of_a_frame_costs_nothing(
    cut: int, start: Callable[..., AmqpPublisher], amqp: BrokerClient, rabbitmq: Broker, proxy: ChaosProxy
) -> None:
    url = rabbitmq.url(amqp.url.rpartition("/")[2], proxy.port)
    publisher, confirmed = start(url), StoredEvent()
    for direction, after in ((UP, cut), (DOWN, 5)):
        proxy.cut_after(after, direction)
        for number in range(100):
            publisher.publish(event(direction, number), confirmed.of((direction, number)))
        confirmed.wait(*[(direction, number) for number in range(100)])

    assert proxy.counters.cuts == 2
    assert set(confirmed.times.values()) == {1}
    assert len(set(all_stored(amqp))) == 200


NESTED: dict[str, object] = {}
NESTED["self"] = NESTED

#: What strangers' messages bring, and what of it arrives.
STRANGE: dict[str, tuple[dict[str, object], dict[Any, object], dict[str, object]]] = {
    "an id of 300 bytes": ({"correlation_id": "ü" * 150, "message_id": "m"}, {}, {"message_id": "m"}),
    "a property of the wrong type": ({"timestamp": "now", "type": "t"}, {}, {"type": "t"}),
    "a time before 1970": ({"timestamp": -1, "type": "t"}, {}, {"type": "t"}),
    "a priority of 300": ({"priority": 300, "type": "t"}, {}, {"type": "t"}),
    "a lone surrogate": ({"type": "t"}, {"h": "\ud800"}, {"type": "t"}),
    "a huge number": ({"type": "t"}, {"n": 2**63}, {"type": "t"}),
    "a key that is no text": ({"type": "t"}, {b"\xff": 1}, {"type": "t"}),
    "a key of 300 bytes": ({"type": "t"}, {"k" * 300: 1}, {"type": "t"}),
    "a value of no type of AMQP": ({"type": "t"}, {"v": {1, 2}}, {"type": "t"}),
    "a time out of range": ({"type": "t"}, {"v": datetime(1900, 1, 1)}, {"type": "t"}),  # noqa: DTZ001
    "a header that holds itself": ({"type": "t"}, NESTED, {"type": "t"}),
    "headers larger than a frame": ({"type": "t"}, {"v": "x" * 131_000}, {"type": "t"}),
    "headers larger than a frame, called like ours": (
        {"type": "t"},
        {"x-bridge-v": "x" * 131_000},
        {"type": "t"},
    ),
    "many headers called like ours": (
        {"type": "t"},
        {f"x-bridge-{number}": "x" * 100 for number in range(1_200)},
        {"type": "t"},
    ),
    "a property that AMQP does not know": ({"body": "b", "colour": "red", "type": "t"}, {}, {"type": "t"}),
    "a delivery mode of its own": ({"delivery_mode": 1, "type": "t"}, {}, {"delivery_mode": 2}),
}


def test_properties_that_amqp_can_not_carry_are_left_out_and_the_rest_arrives(
    start: Callable[..., AmqpPublisher], amqp: BrokerClient, rabbitmq: Broker, proxy: ChaosProxy
) -> None:
    publisher, confirmed = start(rabbitmq.url(amqp.url.rpartition("/")[2], proxy.port)), StoredEvent()
    for name, (properties, headers, _) in STRANGE.items():
        headers = {**headers, "x-bridge-outcome": name} if headers is not NESTED else headers
        message = Outgoing(
            exchange="sms.events", routing_key="k", body=name.encode(), properties=properties, headers=headers
        )
        publisher.publish(message, confirmed.of(name))
    confirmed.wait(*STRANGE)
    arrived = {message.body.decode(): message for message in amqp.take("test.events", len(STRANGE))}

    assert set(confirmed.times.values()) == {1}
    for name, (_, headers, expected) in STRANGE.items():
        assert expected.items() <= arrived[name].properties.items(), name
        if headers is not NESTED:
            assert arrived[name].headers["x-bridge-outcome"] == name
    assert proxy.counters.connections == 1


def test_bodies_of_no_byte_and_of_a_megabyte_arrive(
    start: Callable[..., AmqpPublisher], amqp: BrokerClient
) -> None:
    amqp.declare_queue("sms.unrouted")
    publisher, confirmed = start(amqp.url), StoredEvent()
    bodies = [b"", b"\xff" * 1_000_000]
    for body in bodies:
        publisher.publish(
            Outgoing(exchange="sms.events", routing_key="k", body=body), confirmed.of(len(body))
        )
        unrouted = Outgoing(
            exchange="",
            routing_key="nobody",
            body=body,
            fallback="sms.unrouted",
            properties={"content_encoding": "utf-8"},
        )
        publisher.publish(unrouted, confirmed.of(-1 - len(body)))
    confirmed.wait(0, 1_000_000, -1, -1_000_001)

    assert [message.body for message in amqp.take("test.events", 2)] == bodies
    assert sorted(message.body for message in amqp.take("sms.unrouted", 2)) == bodies


@pytest.mark.parametrize("sent", [0, 10])
def test_stop_returns_in_time_and_tells_nothing_that_is_not_confirmed(
    sent: int, start: Callable[..., AmqpPublisher], amqp: BrokerClient, rabbitmq: Broker
) -> None:
    publisher, confirmed = start(amqp.url), StoredEvent()
    with rabbitmq.frozen():
        for number in range(sent):
            publisher.publish(event("k", number), confirmed.of(number))
        began = time.monotonic()
        publisher.stop(3.0)

        assert time.monotonic() - began < 3.5
        assert not publisher.connected
    assert amqp.depth("test.events") <= sent
    assert not confirmed.times


def test_stop_closes_in_order(
    start: Callable[..., AmqpPublisher], vhost: str, amqp: BrokerClient, rabbitmq: Broker
) -> None:
    publisher = start(amqp.url)
    publisher.stop()

    assert not publisher.connected
    wait_until(lambda: rabbitmq.connections(vhost) == 1, what="the peer's connection alone")


def test_errors_of_the_broker_are_not_taken_for_ours() -> None:
    assert not issubclass(KeyError, BROKER_ERRORS)
    assert not issubclass(AttributeError, BROKER_ERRORS)
    assert NAMES.prefix == "sms"
