"""The contract of command sources: each command is held until it is settled, once."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pytest

from bridge.adapters.amqp.embedded import EmbeddedBroker
from bridge.adapters.clock import SystemClock
from bridge.domain.messages import Outgoing
from bridge.ports import CommandSource
from tests.broker.amqp_setup import NAMES, Inbox, StoredEvent, make_command_queue, make_consumer
from tests.fakes.source import FakeSource
from tests.harness.chaos_proxy import ChaosProxy
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.broker import Broker
    from tests.harness.broker_client import BrokerClient


class Source(CommandSource, Protocol):
    """A source that can also pause."""

    @property
    def consuming(self) -> bool: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Case:
    """A source, its deliveries, and a function that sends it a command."""

    source: Source
    inbox: Inbox
    send: Callable[[bytes], None]
    #: Makes the source lose its connection and connect again.
    lose: Callable[[], object]


def embedded() -> Iterator[Case]:
    inbox, stored_event = Inbox(), StoredEvent()
    broker = EmbeddedBroker(NAMES, SystemClock())
    broker.consume(inbox.receive)
    broker.open()

    def send(body: bytes) -> None:
        message = Outgoing(
            exchange=NAMES.commands_exchange,
            routing_key="send",
            body=body,
            properties={"message_id": "m", "reply_to": "r"},
            headers={"h": 1},
        )
        broker.publish(message, stored_event.of(body))
        stored_event.wait(body)

    def lose() -> None:
        raise AssertionError("there is no connection to lose")

    yield Case(broker, inbox, send, lose)
    broker.close()


def fake() -> Iterator[Case]:
    inbox = Inbox()
    source = FakeSource(inbox.receive, inbox.lose)
    source.start()

    def send(body: bytes) -> None:
        source.send(body, {"message_id": "m", "reply_to": "r"}, {"h": 1})

    yield Case(source, inbox, send, source.break_off)
    source.stop()


def real(peer: BrokerClient, url: str, proxy: ChaosProxy) -> Iterator[Case]:
    inbox = Inbox()
    make_command_queue(peer)
    consumer = make_consumer(url, inbox, prefetch=10)
    consumer.start()
    wait_until(lambda: consumer.consuming, what="a consumer")

    def send(body: bytes) -> None:
        peer.publish(
            body, exchange="", routing_key=NAMES.command_queue, message_id="m", reply_to="r", headers={"h": 1}
        )

    yield Case(consumer, inbox, send, proxy.reset)
    consumer.stop()


def sources(request: pytest.FixtureRequest) -> Iterator[Case]:
    """Create the source that the test requests."""
    if request.param == "real":
        peer, vhost = request.getfixturevalue("amqp"), request.getfixturevalue("vhost")
        broker: Broker = request.getfixturevalue("rabbitmq")
        with ChaosProxy(("127.0.0.1", broker.port)) as proxy:
            yield from real(peer, broker.url(vhost, proxy.port), proxy)
    else:
        yield from fake() if request.param == "fake" else embedded()


REAL = pytest.param("real", marks=pytest.mark.broker)


@pytest.fixture(params=["embedded", "fake", REAL])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    """Run the test with each source."""
    yield from sources(request)


@pytest.fixture(params=["fake", REAL])
def connected(request: pytest.FixtureRequest) -> Iterator[Case]:
    """Run the test with each source that has a connection."""
    yield from sources(request)


def test_commands_come_in_order_with_bytes_properties_and_headers(case: Case) -> None:
    bodies = [b"one", b"\xff\xfe", "grüße".encode()]
    for body in bodies:
        case.send(body)
    deliveries = case.inbox.wait(3)

    assert [delivery.body for delivery in deliveries] == bodies
    assert deliveries[0].properties.items() >= {"message_id": "m", "reply_to": "r"}.items()
    assert deliveries[0].headers["h"] == 1
    assert [delivery.redelivered for delivery in deliveries] == [False] * 3
    assert len({delivery.tag for delivery in deliveries}) == 3


def test_requeued_command_is_redelivered_with_the_flag_and_an_acknowledged_one_is_not(case: Case) -> None:
    case.send(b"acked")
    case.send(b"back")
    acked, back = case.inbox.wait(2)
    case.source.ack(acked)
    case.source.requeue(back)
    case.source.flush()
    again = case.inbox.wait(3)[2]
    case.source.ack(again)
    case.source.flush()
    case.send(b"probe")

    assert case.inbox.wait(4)[3].body == b"probe"
    assert again.body == b"back"
    assert again.redelivered


def test_paused_source_delivers_nothing_until_it_is_resumed(case: Case) -> None:
    case.send(b"held")
    (held,) = case.inbox.wait(1)
    case.source.pause()
    wait_until(lambda: not case.source.consuming, what="a pause")
    case.source.ack(held)
    case.source.flush()
    case.send(b"after")
    threading.Event().wait(0.2)

    assert len(case.inbox.deliveries) == 1
    case.source.resume()
    assert case.inbox.wait(2)[1].body == b"after"


def test_lost_delivery_is_reported_before_its_redelivery_and_settling_it_has_no_effect(
    connected: Case,
) -> None:
    connected.send(b"it")
    (first,) = connected.inbox.wait(1)
    connected.lose()
    second = connected.inbox.wait(2)[1]
    connected.source.ack(first)
    connected.source.requeue(first)
    connected.source.flush()
    connected.lose()
    third = connected.inbox.wait(3)[2]
    connected.source.ack(third)
    connected.source.flush()
    connected.send(b"probe")

    assert connected.inbox.wait(4)[3].body == b"probe"
    assert [second.body, third.body] == [b"it"] * 2
    assert second.redelivered
    assert third.redelivered
    assert connected.inbox.losses == [1, 2]
