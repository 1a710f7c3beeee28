"""What every source of commands promises: each command is held until it is settled, once."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pytest

from bridge.adapters.amqp.embedded import EmbeddedBroker
from bridge.adapters.clock import SystemClock
from bridge.ports import CommandSource, Outgoing
from tests.broker.amqp_setup import NAMES, Inbox, Told, make_command_queue, make_consumer
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.peer import Peer


class Source(CommandSource, Protocol):
    """A source that can also pause."""

    @property
    def consuming(self) -> bool: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Case:
    """A source, what it delivered, and how to send it a command."""

    source: Source
    inbox: Inbox
    send: Callable[[bytes], None]


def embedded() -> Iterator[Case]:
    inbox, told = Inbox(), Told()
    broker = EmbeddedBroker(NAMES, SystemClock())
    broker.consume(inbox.receive)
    broker.start()

    def send(body: bytes) -> None:
        message = Outgoing(
            exchange=NAMES.commands_exchange,
            routing_key="send",
            body=body,
            properties={"message_id": "m", "reply_to": "r"},
            headers={"h": 1},
        )
        broker.publish(message, told.of(body))
        told.wait(body)

    yield Case(broker, inbox, send)
    broker.stop()


def real(peer: Peer) -> Iterator[Case]:
    inbox = Inbox()
    make_command_queue(peer)
    consumer = make_consumer(peer.url, inbox, prefetch=10)
    consumer.start()
    wait_until(lambda: consumer.consuming, what="a consumer")

    def send(body: bytes) -> None:
        peer.publish(
            body, exchange="", routing_key=NAMES.command_queue, message_id="m", reply_to="r", headers={"h": 1}
        )

    yield Case(consumer, inbox, send)
    consumer.stop()


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.broker)])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    """Run the test on each."""
    yield from real(request.getfixturevalue("amqp")) if request.param == "real" else embedded()


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


def test_what_is_given_back_comes_again_and_says_so_and_what_is_acked_does_not(case: Case) -> None:
    case.send(b"acked")
    case.send(b"back")
    acked, back = case.inbox.wait(2)
    case.source.ack(acked)
    case.source.give_back(back)
    again = case.inbox.wait(3)[2]
    case.source.ack(again)
    case.send(b"probe")

    assert case.inbox.wait(4)[3].body == b"probe"
    assert again.body == b"back"
    assert again.redelivered


def test_a_paused_source_delivers_nothing_until_it_is_resumed(case: Case) -> None:
    case.send(b"held")
    (held,) = case.inbox.wait(1)
    case.source.pause()
    wait_until(lambda: not case.source.consuming, what="a pause")
    case.source.ack(held)
    case.send(b"after")
    threading.Event().wait(0.2)

    assert len(case.inbox.deliveries) == 1
    case.source.resume()
    assert case.inbox.wait(2)[1].body == b"after"
