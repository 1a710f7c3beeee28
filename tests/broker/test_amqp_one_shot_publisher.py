"""Offers against a real broker: taken means stored, and what was not taken in time never comes later."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from bridge.adapters.amqp.confirm_channel import WINDOW
from bridge.adapters.amqp.one_shot_publisher import AmqpOneShotPublisher
from bridge.domain.messages import Outgoing
from bridge.ports import OneShotResult
from tests.broker.amqp_setup import NAMES, connection_options
from tests.harness.chaos_proxy import DOWN, ChaosProxy
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.broker import Broker
    from tests.harness.broker_client import BrokerClient

    StartOffering = Callable[..., AmqpOneShotPublisher]

pytestmark = pytest.mark.broker

QUEUE = "taken"


class Answers:
    """What was told of each offer."""

    def __init__(self) -> None:
        self.of: dict[str, OneShotResult] = {}

    def publish_once(
        self, one_shot: AmqpOneShotPublisher, id_: str, *, body: bytes | None = None, **options: Any
    ) -> None:
        """Offer a message known by `id_`."""
        within = options.pop("within", 5.0)
        message = Outgoing(
            exchange=options.pop("exchange", ""),
            routing_key=options.pop("routing_key", QUEUE),
            body=id_.encode() if body is None else body,
            properties={"message_id": id_},
        )

        def confirmed(offered: OneShotResult) -> None:
            assert id_ not in self.of
            self.of[id_] = offered

        one_shot.publish_once(message, confirmed, until=time.monotonic() + within)

    def wait(self, number: int = 1) -> dict[str, OneShotResult]:
        """Wait for so many answers and return all."""
        wait_until(lambda: len(self.of) >= number, what=f"{number} answers")
        return self.of


@pytest.fixture
def start() -> Iterator[StartOffering]:
    """Start offerings, connected, and stop them in the end."""
    started: list[AmqpOneShotPublisher] = []

    def start(url: str, **options: Any) -> AmqpOneShotPublisher:
        options = {"declares": False, **options}
        one_shot = AmqpOneShotPublisher(connection_options(url, "offers", heartbeat=2), NAMES, **options)
        started.append(one_shot)
        one_shot.start()
        wait_until(lambda: one_shot.available, what="a connection")
        return one_shot

    yield start
    for one_shot in started:
        one_shot.stop()


def ids(peer: BrokerClient) -> list[str]:
    """Take all messages and return their ids."""
    return [message.properties["message_id"] for message in peer.take(QUEUE, peer.depth(QUEUE))]


def test_many_at_once_are_each_taken_and_stored_once(start: StartOffering, amqp: BrokerClient) -> None:
    amqp.declare_queue(QUEUE)
    one_shot, answers = start(amqp.url), Answers()
    for number in range(900):
        answers.publish_once(one_shot, f"c{number}")
    confirmed = answers.wait(900)

    assert set(confirmed.values()) == {OneShotResult.TAKEN}
    assert ids(amqp) == [f"c{number}" for number in range(900)]


def test_unroutable_offers_are_reported_among_accepted_ones(start: StartOffering, amqp: BrokerClient) -> None:
    amqp.declare_queue(QUEUE)
    one_shot, answers = start(amqp.url), Answers()
    for number in range(50):
        # All alike but for their ids: which one came back is not to be told by its bytes.
        answers.publish_once(
            one_shot, f"c{number}", body=b"x", routing_key=QUEUE if number % 2 else "nowhere"
        )
    confirmed = answers.wait(50)

    assert {id_ for id_, offered in confirmed.items() if offered is OneShotResult.UNROUTABLE} == {
        f"c{number}" for number in range(0, 50, 2)
    }
    assert sorted(ids(amqp)) == sorted(
        id_ for id_, offered in confirmed.items() if offered is OneShotResult.TAKEN
    )


def test_missing_queue_is_declared_where_declaring_is_allowed(
    start: StartOffering, amqp: BrokerClient
) -> None:
    one_shot, answers = start(amqp.url, declares=True), Answers()
    amqp.delete(NAMES.command_queue)
    make: dict[str, Any] = {"exchange": NAMES.commands_exchange, "routing_key": "send"}
    answers.publish_once(one_shot, "before", **make)
    first = dict(answers.wait())
    wait_until(lambda: NAMES.command_queue in _queues(amqp), what="the queue")
    wait_until(lambda: one_shot.available, what="the next connection")
    answers.publish_once(one_shot, "after", **make)

    assert first == {"before": OneShotResult.UNROUTABLE}
    assert answers.wait(2)["after"] is OneShotResult.TAKEN
    assert [message.properties["message_id"] for message in amqp.take(NAMES.command_queue, 1)] == ["after"]


def _queues(peer: BrokerClient) -> list[str]:
    try:
        peer.depth(NAMES.command_queue)
    except Exception:  # noqa: BLE001 - it is not there
        return []
    return [NAMES.command_queue]


def test_a_full_queue_does_not_take_it(start: StartOffering, amqp: BrokerClient) -> None:
    amqp.declare_queue(QUEUE, {"x-max-length": 1, "x-overflow": "reject-publish"})
    one_shot, answers = start(amqp.url), Answers()
    for number in range(3):
        answers.publish_once(one_shot, f"c{number}")

    assert list(answers.wait(3).values()).count(OneShotResult.NOT_TAKEN) == 2
    assert amqp.depth(QUEUE) == 1


def test_offer_in_flight_at_a_lost_connection_is_not_taken_and_not_published_again(
    start: StartOffering, amqp: BrokerClient, rabbitmq: Broker, proxy: ChaosProxy
) -> None:
    amqp.declare_queue(QUEUE)
    one_shot, answers = start(rabbitmq.url(amqp.url.rpartition("/")[2], proxy.port)), Answers()
    proxy.black_hole(DOWN)
    answers.publish_once(one_shot, "lost")
    wait_until(lambda: amqp.depth(QUEUE) == 1, what="the message")
    proxy.reset()
    confirmed = dict(answers.wait())
    proxy.pass_through()
    wait_until(lambda: one_shot.available, what="the next connection")
    answers.publish_once(one_shot, "next")

    assert confirmed == {"lost": OneShotResult.NOT_TAKEN}
    assert answers.wait(2)["next"] is OneShotResult.TAKEN
    assert ids(amqp) == ["lost", "next"]


def test_while_the_broker_has_an_alarm_nothing_waits_beyond_its_time_and_nothing_comes_later(
    start: StartOffering, amqp: BrokerClient, rabbitmq: Broker
) -> None:
    amqp.declare_queue(QUEUE)
    one_shot, answers = start(amqp.url, limit=10), Answers()
    with rabbitmq.memory_alarm():
        # The broker blocks who publishes.
        answers.publish_once(one_shot, "first", within=0.2)
        wait_until(lambda: not one_shot.available, what="the alarm")
        for number in range(20):
            answers.publish_once(one_shot, f"late {number}", within=0.2)
        confirmed = dict(answers.wait(20))
    wait_until(lambda: one_shot.available, what="the end of the alarm")
    answers.publish_once(one_shot, "after")
    answers.wait(22)

    assert {offered for id_, offered in confirmed.items() if id_ != "first"} == {OneShotResult.NOT_TAKEN}
    assert answers.of["after"] is OneShotResult.TAKEN
    assert ids(amqp) == [id_ for id_ in ("first", "after") if answers.of[id_] is OneShotResult.TAKEN]


def test_waiting_offer_at_a_lost_connection_is_never_written(
    start: StartOffering, amqp: BrokerClient, rabbitmq: Broker, proxy: ChaosProxy
) -> None:
    amqp.declare_queue(QUEUE)
    one_shot, answers = start(rabbitmq.url(amqp.url.rpartition("/")[2], proxy.port)), Answers()
    proxy.black_hole(DOWN)
    for number in range(WINDOW + 40):
        answers.publish_once(one_shot, f"c{number}")
    wait_until(lambda: amqp.depth(QUEUE) == WINDOW, what="as many as may be under way")
    proxy.reset()
    confirmed = dict(answers.wait(WINDOW + 40))
    proxy.pass_through()
    wait_until(lambda: one_shot.available, what="the next connection")
    answers.publish_once(one_shot, "next")
    answers.wait(WINDOW + 41)

    assert set(confirmed.values()) == {OneShotResult.NOT_TAKEN}
    assert amqp.depth(QUEUE) == WINDOW + 1


def test_waiting_offer_past_its_deadline_is_never_written(
    start: StartOffering, amqp: BrokerClient, rabbitmq: Broker
) -> None:
    amqp.declare_queue(QUEUE)
    one_shot, answers = start(amqp.url), Answers()
    with rabbitmq.frozen():
        for number in range(WINDOW + 40):
            answers.publish_once(one_shot, f"c{number}", within=0.2)
        late = dict(answers.wait(40))
    confirmed = answers.wait(WINDOW + 40)

    assert list(late) == [f"c{number}" for number in range(WINDOW, WINDOW + 40)]
    assert set(late.values()) == {OneShotResult.NOT_TAKEN}
    assert {confirmed[f"c{number}"] for number in range(WINDOW)} == {OneShotResult.TAKEN}
    assert amqp.depth(QUEUE) == WINDOW


def test_without_a_connection_nothing_is_held(amqp: BrokerClient) -> None:
    one_shot = AmqpOneShotPublisher(connection_options(amqp.url, "offers"), NAMES)
    answers = Answers()
    answers.publish_once(one_shot, "a")

    assert answers.of == {"a": OneShotResult.NOT_TAKEN}
    assert not one_shot.available


def test_more_than_may_be_open_are_not_taken(
    start: StartOffering, amqp: BrokerClient, rabbitmq: Broker, proxy: ChaosProxy
) -> None:
    amqp.declare_queue(QUEUE)
    one_shot = start(rabbitmq.url(amqp.url.rpartition("/")[2], proxy.port), limit=3)
    answers = Answers()
    proxy.black_hole(DOWN)
    for number in range(5):
        answers.publish_once(one_shot, f"c{number}")
    early = dict(answers.of)
    proxy.pass_through()

    assert early == {"c3": OneShotResult.NOT_TAKEN, "c4": OneShotResult.NOT_TAKEN}
    assert list(answers.wait(5).values()).count(OneShotResult.TAKEN) == 3
