"""The contract of publishers: one confirm, on another thread, after the message has reached its destination."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from bridge.adapters.amqp.embedded import EmbeddedBroker
from bridge.adapters.clock import SystemClock
from bridge.domain.messages import Outgoing
from bridge.ports import PublisherFull
from tests.broker.amqp_setup import NAMES, Inbox, StoredEvent, event, make_consumer, make_publisher
from tests.fakes.publisher import FakePublisher
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.ports import Publisher
    from tests.harness.broker_client import BrokerClient


@dataclass(frozen=True, slots=True)
class Case:
    """A publisher, and functions that return the bodies of the published events and commands."""

    publisher: Publisher
    events: Callable[[], list[bytes]]
    commands: Callable[[], list[bytes]]


def fake() -> Iterator[Case]:
    publisher = FakePublisher()

    def bodies(exchange: str) -> list[bytes]:
        return [message.body for message in publisher.taken if message.exchange == exchange]

    yield Case(publisher, lambda: bodies(NAMES.events_exchange), lambda: bodies(NAMES.commands_exchange))
    publisher.close()


def embedded() -> Iterator[Case]:
    events: list[bytes] = []
    inbox = Inbox()
    broker = EmbeddedBroker(NAMES, SystemClock(), watch=events.append)
    broker.consume(inbox.receive)
    broker.open()
    yield Case(broker, lambda: events, lambda: [delivery.body for delivery in inbox.deliveries])
    broker.close()


def real(peer: BrokerClient) -> Iterator[Case]:
    publisher = make_publisher(peer.url, declares=True)
    publisher.start()
    wait_until(lambda: publisher.connected, what="a connection")
    inbox, events = Inbox(), []
    consumer = make_consumer(peer.url, inbox, prefetch=1000)
    consumer.start()

    def take() -> list[bytes]:
        while message := peer.get("test.events"):
            events.append(message.body)
        return events

    yield Case(publisher, take, lambda: [delivery.body for delivery in inbox.deliveries])
    consumer.stop()
    publisher.stop()


@pytest.fixture(params=["fake", "embedded", pytest.param("real", marks=pytest.mark.broker)])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    """Run the test with each publisher."""
    if request.param == "real":
        yield from real(request.getfixturevalue("amqp"))
    else:
        yield from {"fake": fake, "embedded": embedded}[request.param]()


def test_each_message_is_confirmed_once_on_another_thread_and_arrives_in_order(case: Case) -> None:
    stored_event = StoredEvent()
    for number in range(300):
        case.publisher.publish(event("k", number), stored_event.of(number))
    stored_event.wait(*range(300))
    wait_until(lambda: len(case.events()) >= 300, what="all events")

    assert case.events() == [b"%d" % number for number in range(300)]
    assert stored_event.order == list(range(300))
    assert threading.get_ident() not in stored_event.threads
    assert len(stored_event.threads) == 1


def test_message_that_need_not_be_soon_is_confirmed_after_a_flush(case: Case) -> None:
    stored_event = StoredEvent()
    for number in range(3):
        case.publisher.publish(event("k", number), stored_event.of(number), soon=False)
    case.publisher.flush()
    stored_event.wait(0, 1, 2)

    assert stored_event.order == [0, 1, 2]


def test_publisher_is_available(case: Case) -> None:
    assert case.publisher.available


def test_command_goes_to_the_command_queue(case: Case) -> None:
    stored_event = StoredEvent()
    command = Outgoing(exchange=NAMES.commands_exchange, routing_key="send", body=b"{}")
    case.publisher.publish(command, stored_event.of("command"))
    stored_event.wait("command")
    wait_until(case.commands, what="the command")

    assert case.commands() == [b"{}"]


def test_callback_of_a_confirm_may_publish_another_message(case: Case) -> None:
    stored_event = StoredEvent()
    case.publisher.publish(
        event("k", 1), lambda: case.publisher.publish(event("k", 2), stored_event.of("second"))
    )
    stored_event.wait("second")
    wait_until(lambda: len(case.events()) >= 2, what="both")

    assert case.events() == [b"1", b"2"]


@pytest.mark.parametrize("options", [{"droppable": True}, {"fallback": NAMES.dead_queue}])
def test_unroutable_message_is_confirmed_if_it_may_be_dropped_or_has_a_fallback(
    case: Case, options: dict[str, Any]
) -> None:
    stored_event = StoredEvent()
    case.publisher.publish(event("nobody", 1, exchange="", **options), stored_event.of("unrouted"))
    case.publisher.publish(event("k", 2), stored_event.of("event"))
    stored_event.wait("unrouted", "event")

    assert set(stored_event.times.values()) == {1}


def test_delayed_message_is_confirmed_at_once_and_arrives_within_two_seconds_of_its_time(case: Case) -> None:
    if isinstance(case.publisher, FakePublisher):
        pytest.skip("the fake has no delays")
    stored_event, began = StoredEvent(), time.monotonic()
    for name, seconds in {"1": 1, "2": 2}.items():
        delayed = Outgoing(
            exchange=NAMES.commands_exchange, routing_key="send", body=name.encode(), delay=seconds
        )
        case.publisher.publish(delayed, stored_event.of(name))
    stored_event.wait("1", "2", within=1)
    for number in (1, 2):
        wait_until(lambda number=number: len(case.commands()) == number, what="the delayed")  # type: ignore[misc]

        assert number <= time.monotonic() - began + 0.05 < number + 2.05
    assert case.commands() == [b"1", b"2"]


def test_full_fake_publisher_accepts_nothing() -> None:
    publisher, stored_event = FakePublisher(capacity=2), StoredEvent()
    publisher.confirming.clear()

    def fill() -> None:
        for number in range(5):
            publisher.publish(event("k", number), stored_event.of(number))

    with pytest.raises(PublisherFull):
        fill()
    publisher.close()
    assert len(stored_event.times) == len(publisher.taken) <= 3


def test_full_publisher_accepts_nothing_until_there_is_capacity() -> None:
    # No broker listens there: nothing is ever confirmed.
    publisher, stored_event = make_publisher("amqp://guest:guest@127.0.0.1:1/", limit=2), StoredEvent()
    publisher.publish(event("k", 1), stored_event.of(1))
    publisher.publish(event("k", 2), stored_event.of(2))

    with pytest.raises(PublisherFull, match="2 messages"):
        publisher.publish(event("k", 3), stored_event.of(3))
    assert not publisher.available
    assert not stored_event.times
