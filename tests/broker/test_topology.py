"""What the bridge declares on a real broker, and how the broker then treats messages."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from amqp.exceptions import MessageNacked

from bridge.adapters.amqp.connection import Broker as Connection
from bridge.adapters.amqp.topology import MAX_DELAY, TopologyMismatch, declare, missing
from bridge.domain.messages import Outgoing
from tests.broker.amqp_setup import NAMES, Inbox, StoredEvent, address, make_consumer, make_publisher
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from bridge.adapters.amqp.topology import Topology
    from tests.harness.broker import Broker
    from tests.harness.broker_client import BrokerClient

pytestmark = pytest.mark.broker


def apply(url: str, topology: Topology, *, anew: bool = False) -> list[str]:
    """Declare, and return what is missing then."""
    connection = Connection.open(address(url), "test")
    try:
        declare(connection, topology, anew=anew)
        return missing(connection, topology)
    finally:
        connection.close()


def lacking(url: str, topology: Topology = NAMES) -> list[str]:
    """Return what is missing."""
    connection = Connection.open(address(url), "test")
    try:
        return missing(connection, topology)
    finally:
        connection.close()


@pytest.fixture
def declared(vhost_url: str) -> str:
    """Return the URL of a virtual host with everything on it."""
    assert apply(vhost_url, NAMES) == []
    return vhost_url


def test_declaring_again_changes_nothing(declared: str) -> None:
    assert apply(declared, NAMES) == []


def test_before_anything_is_declared_everything_is_missing(vhost_url: str) -> None:
    names = lacking(vhost_url)

    assert names[:2] == ["exchange sms.commands", "exchange sms.events"]
    assert {"queue sms.send", "queue sms.unrouted", "queue sms.dead"} <= set(names)
    assert {f"queue sms_celery_delayed_{level}" for level in range(28)} <= set(names)


def test_what_was_deleted_is_named_and_nothing_else(amqp: BrokerClient) -> None:
    apply(amqp.url, NAMES)
    amqp.delete("sms.dead")
    amqp.delete("sms_celery_delayed_3")
    with amqp.channel() as channel:
        channel.exchange_delete("sms.events")
        channel.exchange_delete("sms_celery_delayed_delivery")

    assert sorted(lacking(amqp.url)) == [
        "exchange sms.events",
        "exchange sms_celery_delayed_delivery",
        "queue sms.dead",
        "queue sms_celery_delayed_3",
    ]
    assert apply(amqp.url, NAMES) == []


def test_what_is_there_is_looked_at_and_not_declared_again(
    declared: str, rabbitmq: Broker, vhost: str
) -> None:
    # Who has no right at all can look.
    rabbitmq.add_user(vhost, f"looks-{vhost}", "x", configure="^$", write="^$", read="^$")

    assert apply(declared.replace("guest:guest", f"looks-{vhost}:x"), NAMES) == []


def test_bindings_are_made_again_where_the_marker_is_missing_or_that_is_asked_for(amqp: BrokerClient) -> None:
    apply(amqp.url, NAMES)
    found = []
    for anew in (False, True):
        amqp.unbind(NAMES.command_queue, NAMES.commands_exchange, "send")
        if not anew:
            with amqp.channel() as channel:
                channel.exchange_delete(NAMES.marker)
            assert lacking(amqp.url) == [f"exchange {NAMES.marker}"]
        apply(amqp.url, NAMES, anew=anew)
        amqp.publish(b"bound")
        found += amqp.take(NAMES.command_queue)

    assert len(found) == 2
    assert lacking(amqp.url) == []


def test_another_topology_has_another_marker() -> None:
    others = [
        replace(NAMES, dead_queue="other"),
        replace(NAMES, delivery_limit=5),
        replace(NAMES, prefix="x"),
    ]

    assert len({NAMES.marker, *(other.marker for other in others)}) == 4
    assert NAMES.marker == replace(NAMES).marker


def test_a_queue_with_other_properties_is_named(declared: str) -> None:
    with pytest.raises(TopologyMismatch, match=r"sms\.(send|given_up) .*x-delivery-limit"):
        apply(declared, replace(NAMES, delivery_limit=5))


def test_an_exchange_of_another_type_is_named(amqp: BrokerClient) -> None:
    with amqp.channel() as channel:
        channel.exchange_declare("sms.commands", "fanout", durable=True, auto_delete=False)

    with pytest.raises(TopologyMismatch, match=r"sms\.commands .*type"):
        apply(amqp.url, NAMES)


def test_a_level_of_the_delay_with_other_properties_is_named(amqp: BrokerClient) -> None:
    amqp.declare_queue("sms_celery_delayed_5")

    with pytest.raises(TopologyMismatch, match="sms_celery_delayed_5"):
        apply(amqp.url, NAMES)


def test_a_command_returned_too_often_comes_once_more_as_given_up_and_is_a_dead_letter_at_last(
    amqp: BrokerClient,
) -> None:
    topology = replace(NAMES, delivery_limit=2)
    apply(amqp.url, topology)
    amqp.publish(b"poison", message_id="m")
    inbox = Inbox()
    consumer = make_consumer(amqp.url, inbox, topology=topology)
    consumer.start()
    given_up = []
    for number in range(6):
        delivery = inbox.wait(number + 1)[number]
        given_up.append(delivery.given_up)
        consumer.requeue(delivery)
        consumer.flush()
    (dead,) = amqp.dead()
    consumer.stop()

    assert dead.body == b"poison"
    assert dead.properties["message_id"] == "m"
    assert dead.headers["x-death"][0]["reason"] == "delivery_limit"
    assert given_up == [None] * 3 + ["delivery_limit"] * 3
    assert amqp.depth("sms.send") == 0


def test_delays_are_never_early_and_at_most_two_seconds_late_also_the_second_time(declared: str) -> None:
    publisher, confirmed, inbox = make_publisher(declared), StoredEvent(), Inbox()
    consumer = make_consumer(declared, inbox)
    publisher.start()
    consumer.start()
    sent: dict[str, float] = {}
    arrived: dict[str, float] = {}

    def delay(name: str, seconds: int) -> None:
        sent[name] = time.monotonic()
        message = Outgoing(
            exchange="sms.commands",
            routing_key="send",
            body=name.encode(),
            delay=seconds,
            properties={"type": name},
        )
        publisher.publish(message, confirmed.of(name))

    def collect() -> bool:
        for delivery in inbox.deliveries[len(arrived) :]:
            name = delivery.body.decode()
            arrived[name] = time.monotonic() - sent[name]
            consumer.ack(delivery)
            consumer.flush()
            if name == "twice":
                delay("twice again", 2)
        return len(arrived) == 5

    for name, seconds in {"1": 1, "2": 2, "3": 3, "twice": 2}.items():
        delay(name, seconds)
    wait_until(collect, within=12, what="all copies")
    publisher.stop()
    consumer.stop()

    for name, seconds in {"1": 1, "2": 2, "3": 3, "twice": 2, "twice again": 2}.items():
        assert seconds <= arrived[name] + 0.05 < seconds + 2.05, name
    assert set(confirmed.times.values()) == {1}


def test_a_delay_is_at_least_a_second_and_at_most_what_the_levels_hold() -> None:
    def bits(delay: int) -> str:
        _, key = NAMES.delayed("send", delay)
        return key.removesuffix(".send").replace(".", "")

    assert [int(bits(delay), 2) for delay in (-1, 0, 1, 30, 30 * 86_400)] == [1, 1, 1, 30, 2_592_000]
    assert int(bits(MAX_DELAY + 1), 2) == MAX_DELAY


def test_of_events_that_nobody_wants_the_oldest_go(amqp: BrokerClient) -> None:
    apply(amqp.url, replace(NAMES, unrouted_max_length=2))
    for number in range(4):
        amqp.publish(b"%d" % number, exchange="", routing_key="sms.unrouted")

    assert [message.body for message in amqp.take("sms.unrouted", 2)] == [b"2", b"3"]
    assert amqp.get("sms.unrouted") is None


def limit_commands(broker: Broker, vhost: str, **definition: object) -> None:
    """Set a policy of an operator on the command queue."""
    broker.ctl(
        "set_policy", "-p", vhost, "--apply-to", "queues", "limit", r"^sms\.send$", json.dumps(definition)
    )


def test_a_limit_of_the_length_refuses_commands_and_takes_them_off_only_where_it_says_so(
    amqp: BrokerClient, rabbitmq: Broker, vhost: str
) -> None:
    apply(amqp.url, NAMES)
    amqp.publish("first")
    amqp.publish("second")
    limit_commands(rabbitmq, vhost, **{"max-length": 1})
    with pytest.raises(MessageNacked):
        amqp.publish("refused")
    before = amqp.depth("sms.send"), amqp.depth("sms.given_up")
    limit_commands(rabbitmq, vhost, **{"max-length": 1, "overflow": "drop-head"})
    (dropped,) = amqp.take("sms.given_up")

    assert before == (2, 0)
    assert (dropped.body, dropped.headers["x-first-death-reason"]) == (b"first", "maxlen")


def test_a_queue_that_a_policy_lets_expire_is_deleted_and_its_commands_are_lost(
    amqp: BrokerClient, rabbitmq: Broker, vhost: str
) -> None:
    apply(amqp.url, NAMES)
    amqp.publish("lost")
    limit_commands(rabbitmq, vhost, expires=1)
    # The broker looks every few seconds. Looking with AMQP would be a use of the queue.
    wait_until(lambda: "sms.send" not in rabbitmq.queues(vhost), 20, every=0.2, what="the queue's end")

    assert (amqp.depth("sms.given_up"), amqp.depth("sms.dead")) == (0, 0)
    assert lacking(amqp.url) == ["queue sms.send"]
