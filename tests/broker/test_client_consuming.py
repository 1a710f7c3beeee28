"""Events as another service consumes them with the client: each handled, acked afterwards, and poison does not spin."""

from __future__ import annotations

import os
import sqlite3
import threading
from typing import TYPE_CHECKING

import pytest

from bridge.client import (
    AuthenticationError,
    Closed,
    Discard,
    Event,
    Outcome,
    QueueRefused,
    RetryLater,
    SeenInMemory,
)
from bridge.domain.events import SENT
from tests.broker.client_setup import DEAD, QUEUE, Running, consumer, publish
from tests.harness.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness.broker import Broker
    from tests.harness.broker_client import BrokerClient

pytestmark = pytest.mark.broker


class Handler:
    """Keeps what it is called with; fails as often as told, by the command's id."""

    def __init__(self, **failures: list[Exception]) -> None:
        self.events: list[Event] = []
        self._failures = failures

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if failures := self._failures.get(str(event.subject)):
            raise failures.pop(0)

    @property
    def subjects(self) -> list[str | None]:
        """The commands that the events are about."""
        return [event.subject for event in self.events]

    def wait(self, number: int, within: float = 15) -> None:
        """Wait until it was called so often."""
        wait_until(lambda: len(self.events) >= number, within, what=f"{number} events")


@pytest.fixture
def bound(amqp: BrokerClient, vhost_url: str) -> BrokerClient:
    """Return the peer, with a consumer's queue declared and bound by a consumer."""
    with Running(consumer(vhost_url), Handler()):
        wait_until(lambda: amqp.exists(QUEUE) and amqp.consumers(QUEUE), what="a consumer")
    return amqp


def is_empty(rabbitmq: Broker, vhost: str) -> bool:
    """Whether the queue has nothing, held by a consumer or not."""
    return rabbitmq.held(vhost, QUEUE) == 0


def test_an_event_comes_typed_and_is_off_the_queue_after_its_handler(
    bound: BrokerClient, rabbitmq: Broker, vhost: str
) -> None:
    handler = Handler()
    with Running(consumer(bound.url), handler):
        identity = publish(bound, "c1")
        handler.wait(1)
        wait_until(lambda: is_empty(rabbitmq, vhost), what="an empty queue")
    (event,) = handler.events

    assert isinstance(event, Outcome)
    assert (event.id, event.type, event.subject, event.command_id, event.index) == (
        identity,
        SENT,
        "c1",
        "c1",
        0,
    )
    assert event.is_sent
    assert event.error is None


def test_what_nobody_has_handled_when_the_consumer_ends_comes_to_the_next(bound: BrokerClient) -> None:
    first, second = Handler(c1=[KeyboardInterrupt()]), Handler()  # type: ignore[list-item]
    publish(bound, "c1")
    publish(bound, "c2")
    with Running(consumer(bound.url), first) as running:
        wait_until(lambda: running.is_over, what="the end of a consumer that was interrupted")
    with Running(consumer(bound.url), second):
        second.wait(2)

    assert isinstance(running.error, KeyboardInterrupt)
    assert first.subjects == ["c1"]
    assert sorted(map(str, second.subjects)) == ["c1", "c2"]


def test_an_event_that_comes_twice_is_handled_once(bound: BrokerClient, rabbitmq: Broker, vhost: str) -> None:
    handler = Handler()
    with Running(consumer(bound.url), handler):
        for command_id in ("c1", "c1", "c2", "c1"):
            publish(bound, command_id)
        wait_until(lambda: is_empty(rabbitmq, vhost), what="an empty queue")
        handler.wait(2)

    assert handler.subjects == ["c1", "c2"]


def test_an_event_that_cannot_be_handled_goes_to_the_dead_and_holds_nothing_up(
    bound: BrokerClient, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Handler(poison=[ValueError("+16131234567") for _ in range(100)])
    with Running(consumer(bound.url, tries=3), handler):
        publish(bound, "poison")
        publish(bound, "c2")
        handler.wait(4)
        (letter,) = bound.take(DEAD)

    assert handler.subjects == ["poison", "poison", "poison", "c2"]
    assert letter.json["subject"] == "poison"
    assert letter.headers["x-death"][0]["queue"] == QUEUE
    assert "error=ValueError" in caplog.text
    assert "+1613" not in caplog.text


@pytest.mark.parametrize("place", ["handler", "seen.has", "seen.add"])
def test_what_returns_before_its_work_is_done_loses_no_event(place: str, bound: BrokerClient) -> None:
    async def work(*_: object) -> bool:
        raise AssertionError("never awaited")

    class Seen(SeenInMemory):
        """Looks like a blocking one until it is called."""

        def has(self, event_id: str) -> bool:
            return work() if place == "seen.has" else False  # type: ignore[return-value]

        def add(self, event_id: str) -> None:
            return work() if place == "seen.add" else None  # type: ignore[return-value]

    publish(bound, "c1")
    with Running(consumer(bound.url, seen=Seen()), handler(place, work)) as running:
        wait_until(lambda: running.is_over, what="a refusal")
    wait_until(lambda: bound.depth(QUEUE) == 1, what="the event, back on its queue")

    assert isinstance(running.error, TypeError)
    assert f"{place} returned a coroutine" in str(running.error)


def handler(place: str, work: Callable[[Event], object]) -> Callable[[Event], object]:
    """Return a plain function that starts the work and does not wait for it, where it is at fault."""
    return lambda event: work(event) if place == "handler" else None


def test_an_async_handler_is_refused_at_once_and_every_event_stays(bound: BrokerClient) -> None:
    async def save(event: Event) -> None:
        raise AssertionError("never awaited")

    publish(bound, "c1")
    with Running(consumer(bound.url), save) as running:
        wait_until(lambda: running.is_over, what="a refusal")

    assert isinstance(running.error, TypeError)
    assert "plain function" in str(running.error)
    assert bound.depth(QUEUE) == 1


def test_a_handler_that_fails_for_a_while_gets_the_event_again(bound: BrokerClient) -> None:
    handler = Handler(c1=[ValueError(), OSError()])
    with Running(consumer(bound.url), handler):
        publish(bound, "c1")
        publish(bound, "c2")
        handler.wait(4)

    assert handler.subjects == ["c1", "c1", "c1", "c2"]
    assert bound.depth(DEAD) == 0


def test_what_is_not_the_events_fault_is_tried_on_and_what_no_trying_helps_is_not(
    bound: BrokerClient,
) -> None:
    handler = Handler(c1=[RetryLater() for _ in range(7)], c2=[Discard()])
    with Running(consumer(bound.url, tries=2), handler):
        publish(bound, "c1")
        publish(bound, "c2")
        publish(bound, "c3")
        handler.wait(10)
        (letter,) = bound.take(DEAD)

    assert handler.subjects == [*["c1"] * 8, "c2", "c3"]
    assert letter.json["subject"] == "c2"


@pytest.mark.parametrize(
    "body", [b"\xff no JSON", b"[]", b"{}", b'{"id": 1, "type": "sms.outbound.sent", "data": {}}']
)
def test_what_is_no_event_goes_to_the_dead_and_never_to_the_handler(body: bytes, bound: BrokerClient) -> None:
    handler = Handler()
    with Running(consumer(bound.url), handler):
        bound.publish(body, exchange="sms.events", routing_key=SENT)
        publish(bound, "c1")
        handler.wait(1)
        (letter,) = bound.take(DEAD)

    assert handler.subjects == ["c1"]
    assert letter.body == body


def test_a_connection_that_is_lost_in_the_middle_costs_no_event_and_no_second_handling(
    bound: BrokerClient, rabbitmq: Broker, vhost: str, caplog: pytest.LogCaptureFixture
) -> None:
    reached, go_on = threading.Event(), threading.Event()
    handled: list[str | None] = []

    def handler(event: Event) -> None:
        if event.subject == "c1":
            reached.set()
            assert go_on.wait(20)
        handled.append(event.subject)

    with Running(consumer(bound.url), handler):
        # The first one has the others come under other tags on the next connection: an old tag means another event.
        for command_id in ("c0", "c1", "c2"):
            publish(bound, command_id)
        assert reached.wait(10)
        rabbitmq.close_connections(vhost)
        wait_until(lambda: rabbitmq.consumers(vhost, QUEUE), what="a consumer again")
        go_on.set()
        wait_until(lambda: is_empty(rabbitmq, vhost), what="an empty queue")

    assert handled == ["c0", "c1", "c2"]
    assert caplog.text.count("broker.lost") == 1


def test_a_consumer_outlives_the_broker(bound: BrokerClient, rabbitmq: Broker) -> None:
    handler = Handler()
    with Running(consumer(bound.url), handler):
        publish(bound, "c1")
        handler.wait(1)
        rabbitmq.restart()
        publish(bound, "c2")
        handler.wait(2, within=30)

    assert handler.subjects == ["c1", "c2"]


def test_a_consumer_waits_for_a_broker_and_can_be_stopped_meanwhile() -> None:
    with Running(consumer(f"amqp://127.0.0.1:{free_port()}/"), Handler()) as running:
        assert not running.is_over

    assert running.error is None


def test_stop_is_heard_in_the_midst_of_trying_again(bound: BrokerClient) -> None:
    handler = Handler(c1=[RetryLater() for _ in range(100)])
    with Running(consumer(bound.url, first_pause=600.0), handler):
        publish(bound, "c1")
        handler.wait(1)
    wait_until(lambda: bound.depth(QUEUE) == 1, what="the event, back on its queue")

    assert handler.subjects == ["c1"]


def test_a_handler_may_stop_its_consumer_and_its_event_counts_as_handled(bound: BrokerClient) -> None:
    events = consumer(bound.url)
    for command_id in ("c1", "c2"):
        publish(bound, command_id)
    with events:
        events.run(lambda _: events.stop())
    wait_until(lambda: bound.depth(QUEUE) == 1, what="the other one")

    assert bound.get(QUEUE).json["subject"] == "c2"  # type: ignore[union-attr]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_consumer_that_was_taken_through_a_fork_says_so_and_its_parent_goes_on(bound: BrokerClient) -> None:
    handler = Handler()
    with Running(consumer(bound.url), handler) as running:
        publish(bound, "c1")
        handler.wait(1)
        child = os.fork()
        if not child:
            # Nothing of the parent's may be closed, torn down or reported from here.
            try:
                running.consumer.run(handler)
            except Closed:
                os._exit(7)
            os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        publish(bound, "c2")
        handler.wait(2)

    assert code == 7


def test_a_loop_acks_what_it_has_left_behind_and_gives_back_what_it_broke_off_over(
    bound: BrokerClient,
) -> None:
    for command_id in ("c1", "c2", "c3"):
        publish(bound, command_id)
    with consumer(bound.url) as events:
        for event in events:
            if event.subject == "c2":
                break
    wait_until(lambda: bound.depth(QUEUE) == 2, what="two left")
    left = {message.json["subject"] for message in bound.take(QUEUE, 2)}

    assert left == {"c2", "c3"}


def test_only_the_types_that_were_asked_for_come(amqp: BrokerClient) -> None:
    handler = Handler()
    with Running(consumer(amqp.url, keys=("sms.inbound.*",)), handler):
        wait_until(lambda: amqp.exists(QUEUE) and amqp.consumers(QUEUE), what="a consumer")
        publish(amqp, "c1")

        assert amqp.depth(QUEUE) == 0
    assert handler.events == []


def test_a_queue_with_other_properties_is_refused_and_taken_as_it_is_where_nothing_is_declared(
    amqp: BrokerClient,
) -> None:
    amqp.declare_queue(QUEUE)
    amqp.bind(QUEUE, "sms.events", "#")
    with (
        consumer(amqp.url) as events,
        pytest.raises(QueueRefused, match=r"billing\.sms.*inequivalent.*declare=False"),
    ):
        events.run(Handler())
    handler = Handler()
    with Running(consumer(amqp.url, declare=False), handler):
        publish(amqp, "c1")
        handler.wait(1)

    assert handler.subjects == ["c1"]


def test_a_queue_that_is_not_there_is_said_where_nothing_is_declared(vhost_url: str) -> None:
    with consumer(vhost_url, declare=False) as events, pytest.raises(QueueRefused, match="no queue"):
        events.run(Handler())


@pytest.mark.parametrize("change", [("guest:guest", "guest:hunter2"), ("/t", "/no-")])
def test_a_login_that_is_refused_at_the_start_is_said_at_once(
    vhost_url: str, change: tuple[str, str]
) -> None:
    with (
        consumer(vhost_url.replace(*change)) as events,
        pytest.raises(AuthenticationError, match="refuses us"),
    ):
        events.run(Handler())


def test_a_login_that_is_refused_later_is_tried_again(amqp: BrokerClient, rabbitmq: Broker) -> None:
    vhost = amqp.url.rpartition("/")[2]
    user = f"rotated-{vhost}"
    rabbitmq.add_user(vhost, user, "pw")
    handler = Handler()
    events = consumer(amqp.url.replace("guest:guest", f"{user}:pw"))
    with Running(events, handler):
        wait_until(lambda: amqp.exists(QUEUE) and amqp.consumers(QUEUE), 20, what="the consumer")
        publish(amqp, "c1")
        handler.wait(1)
        # Deleting a user closes its connections.
        rabbitmq.delete_user(user)
        wait_until(lambda: not amqp.consumers(QUEUE), 20, what="the end of its connection")
        rabbitmq.add_user(vhost, user, "pw")
        publish(amqp, "c2")
        handler.wait(2)

    assert handler.subjects == ["c1", "c2"]


class SeenInSqlite:
    """A memory of one's own, as docs/client.md has it."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY)")

    def has(self, event_id: str) -> bool:
        return self._database.execute("SELECT 1 FROM seen WHERE id = ?", [event_id]).fetchone() is not None

    def add(self, event_id: str) -> None:
        self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", [event_id])

    def close(self) -> None:
        self._database.close()


def test_a_memory_of_ones_own_outlives_the_consumer(
    bound: BrokerClient, rabbitmq: Broker, vhost: str, tmp_path: Path
) -> None:
    handlers = [Handler(), Handler()]
    for handler in handlers:
        seen = SeenInSqlite(tmp_path / "seen.sqlite3")
        with Running(consumer(bound.url, seen=seen), handler):
            publish(bound, "c1")
            wait_until(lambda: is_empty(rabbitmq, vhost), what="an empty queue")
        seen.close()

    assert [handler.subjects for handler in handlers] == [["c1"], []]


@pytest.mark.parametrize("fails", ["has", "add"])
def test_a_memory_that_is_away_has_the_event_tried_again(fails: str, bound: BrokerClient) -> None:
    handler = Handler()

    class Seen(SeenInMemory):
        left = 2

        def fail(self, name: str) -> None:
            if name == fails and self.left:
                self.left -= 1
                raise OSError("the database is away")

        def has(self, event_id: str) -> bool:
            self.fail("has")
            return super().has(event_id)

        def add(self, event_id: str) -> None:
            self.fail("add")
            super().add(event_id)

    with Running(consumer(bound.url, seen=Seen()), handler):
        publish(bound, "c1")
        publish(bound, "c2")
        wait_until(lambda: "c2" in handler.subjects, what="the next one")

    assert handler.subjects == {"has": ["c1", "c2"], "add": ["c1", "c1", "c1", "c2"]}[fails]
    assert bound.depth(DEAD) == 0
