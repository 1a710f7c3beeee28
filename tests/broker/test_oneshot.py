"""What command lines do with a real broker, and what they say when it is not there."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from bridge.adapters.amqp.one_shot import OneShot
from bridge.adapters.clock import SystemClock
from tests.broker.amqp_setup import NAMES, address, make_command_queue
from tests.harness.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.broker import Broker
    from tests.harness.broker_client import BrokerClient

pytestmark = pytest.mark.broker

COMMAND = {"id": "c1", "destination_address": "+16131234567", "message": "Grüße"}


def one(url: str, confirm_timeout: float = 10.0) -> OneShot:
    """Return the one-shot side of the broker at `url`."""
    return OneShot(address(url, io_timeout=1.0), NAMES, SystemClock(), confirm_timeout=confirm_timeout)


@pytest.fixture
def prepared(amqp: BrokerClient) -> BrokerClient:
    """Return the peer, with the commands exchange and its queue."""
    make_command_queue(amqp)
    with amqp.channel() as channel:
        channel.exchange_declare("sms.commands", "topic", durable=True, auto_delete=False)
    amqp.bind("sms.send", "sms.commands", "send")
    return amqp


def answer(peer: BrokerClient, *events: dict[str, Any]) -> threading.Thread:
    """Answer the next command as a worker would."""

    def work() -> None:
        (command,) = peer.take("sms.send")
        for event in events:
            peer.publish(
                event,
                exchange="",
                routing_key=command.properties["reply_to"],
                correlation_id=command.properties["correlation_id"],
            )

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def outcome(index: int | None, kind: str = "sent") -> dict[str, Any]:
    """Return what of an outcome event matters here."""
    return {"type": f"sms.outbound.{kind}", "data": {"index": index}}


def test_an_id_that_amqp_has_no_room_for_stands_in_the_body_alone(prepared: BrokerClient) -> None:
    one(prepared.url).send({**COMMAND, "id": "é" * 128}, outcomes=1, wait=None)
    (command,) = prepared.take("sms.send")

    assert command.json["id"] == "é" * 128
    assert "message_id" not in command.properties


def test_outcomes_are_waited_for_and_one_that_speaks_for_all_ends_the_wait(prepared: BrokerClient) -> None:
    worker = answer(prepared, outcome(0), outcome(1))
    both = one(prepared.url).send(COMMAND, outcomes=2, wait=10)
    worker.join()
    worker = answer(prepared, outcome(None, "invalid"))
    refused = one(prepared.url).send(COMMAND, outcomes=2, wait=10)
    worker.join()

    assert both == [outcome(0), outcome(1)]
    assert refused == [outcome(None, "invalid")]


def test_message_with_another_correlation_id_is_no_outcome(prepared: BrokerClient) -> None:
    def stray() -> None:
        (command,) = prepared.take("sms.send")
        queue = command.properties["reply_to"]
        for body in ({"type": "other.service", "data": {}}, b"no event", outcome(0)):
            prepared.publish(body, exchange="", routing_key=queue, correlation_id="another")
        prepared.publish(
            outcome(0), exchange="", routing_key=queue, correlation_id=command.properties["correlation_id"]
        )

    thread = threading.Thread(target=stray)
    thread.start()
    received = one(prepared.url).send(COMMAND, outcomes=1, wait=10)
    thread.join()

    assert received == [outcome(0)]


def test_wait_for_outcomes_ends_in_time(prepared: BrokerClient) -> None:
    began = time.monotonic()

    assert one(prepared.url).send(COMMAND, outcomes=1, wait=0.3) == []
    assert 0.3 <= time.monotonic() - began < 2


def test_a_command_that_no_queue_takes_is_an_error_with_a_way_out(amqp: BrokerClient) -> None:
    with pytest.raises(ConnectionError, match="topology"):
        one(amqp.url).send(COMMAND, outcomes=1, wait=None)
    with amqp.channel() as channel:
        channel.exchange_declare("sms.commands", "topic", durable=True, auto_delete=False)
    with pytest.raises(ConnectionError, match="topology declare"):
        one(amqp.url).send(COMMAND, outcomes=1, wait=None)


def test_a_blocked_broker_is_an_error_after_a_while(prepared: BrokerClient, rabbitmq: Broker) -> None:
    with rabbitmq.memory_alarm(), pytest.raises(ConnectionError, match="blocked"):
        one(prepared.url, confirm_timeout=0.5).send(COMMAND, outcomes=1, wait=None)


def test_events_are_shown_as_they_come_and_what_is_none_is_named(amqp: BrokerClient) -> None:
    side = one(amqp.url)
    side.declare()
    seen: list[dict[str, Any]] = []
    skipped: list[str] = []

    def tail() -> None:
        events = side.tail(["sms.outbound.#"], skipped.append)
        for event in events:
            seen.append(event)
            if len(seen) == 2:
                events.close()  # type: ignore[attr-defined]
                return

    thread = threading.Thread(target=tail)
    thread.start()

    def publish() -> bool:
        for body in (b"\xff no JSON", b"[]", b"[" * 100_000, b"", {"data": None}, outcome(1)):
            amqp.publish(body, exchange="sms.events", routing_key="sms.outbound.sent")
        amqp.publish(outcome(2), exchange="sms.events", routing_key="sms.inbound.received")
        return len(seen) >= 2

    wait_until(publish, every=0.2, what="two events")
    thread.join(5)

    assert not thread.is_alive()
    assert seen == [outcome(1), outcome(1)]
    # The queue may be bound in the middle of a round.
    assert "skipped a message that is not an event: routing key sms.outbound.sent, 2 bytes" in skipped
    assert len(skipped) >= 5


@pytest.fixture
def rubbish() -> Iterator[str]:
    """Listen where no broker is, and answer HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    accepted, _ = listener.accept()
                except OSError:
                    return
                with accepted:
                    accepted.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n" + b"x" * 5000)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"amqp://guest:secret@127.0.0.1:{listener.getsockname()[1]}/"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


EVERYTHING: dict[str, Callable[[OneShot], object]] = {
    "send": lambda side: side.send(COMMAND, outcomes=1, wait=None),
    "tail": lambda side: next(iter(side.tail(["#"]))),
    "declare": lambda side: side.declare(),
    "differences": lambda side: side.differences(),
}


@pytest.mark.parametrize("what", EVERYTHING)
def test_a_broker_that_is_not_there_or_refuses_is_an_error_without_the_password(
    what: str, rabbitmq: Broker, vhost: str, rubbish: str
) -> None:
    place = f"127.0.0.1:{rabbitmq.port}"
    for url, words in {
        f"amqp://guest:secret@127.0.0.1:{free_port()}/": "refused",
        f"amqp://guest:secret@{place}/{vhost}": "refuses us: ACCESS_REFUSED - Login was refused",
        f"amqp://guest:guest@{place}/no-such-vhost": "refuses us: NOT_ALLOWED - vhost no-such-vhost not found",
        rubbish: "can't be reached",
    }.items():
        with pytest.raises(ConnectionError, match=words) as failed:
            EVERYTHING[what](one(url))

        assert "secret" not in str(failed.value)


@pytest.mark.parametrize("what", EVERYTHING)
def test_a_frozen_broker_is_an_error_in_bounded_time(what: str, rabbitmq: Broker, vhost_url: str) -> None:
    with rabbitmq.frozen():
        began = time.monotonic()
        with pytest.raises(ConnectionError, match="time"):
            EVERYTHING[what](one(vhost_url))

        assert time.monotonic() - began < 3


def test_tail_without_declaring_uses_the_declared_topology(amqp: BrokerClient) -> None:
    side = OneShot(address(amqp.url, io_timeout=1.0), NAMES, SystemClock(), declares=False)
    amqp.collect()
    seen: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: seen.append(next(iter(side.tail(["#"])))), daemon=True)
    thread.start()

    def publish() -> bool:
        amqp.publish({"data": {"index": 1}, "type": "x"}, exchange="sms.events", routing_key="x")
        return bool(seen)

    wait_until(publish, every=0.2, what="an event")
    thread.join(5)

    assert not amqp.exists("sms.send")
