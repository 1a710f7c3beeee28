"""Events as an asyncio program consumes them: each acknowledged after its handler is done, and none lost."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from bridge.client.aio import (
    Closed,
    Discard,
    Event,
    Outcome,
    QueueRefused,
    RetryLater,
    SeenInMemory,
)
from tests.broker.aio_setup import consumer, handled, run, until
from tests.broker.client_setup import DEAD, QUEUE, publish
from tests.harness.waiting import free_port, wait_until

if TYPE_CHECKING:
    from tests.harness.broker_client import BrokerClient

pytestmark = pytest.mark.broker


@pytest.fixture
def bound(amqp: BrokerClient) -> BrokerClient:
    """Return the peer, with a consumer's queue declared and bound by a consumer."""

    async def bind() -> None:
        async with consumer(amqp.url) as events:
            await handled(events, print, lambda: amqp.exists(QUEUE) and bool(amqp.consumers(QUEUE)))

    run(bind())
    return amqp


class Handler:
    """Keeps what it is called with; fails as often as it is told to, by the command's id."""

    def __init__(self, **failures: list[BaseException]) -> None:
        self.events: list[Event] = []
        self._failures = failures

    async def __call__(self, event: Event) -> None:
        self.events.append(event)
        await asyncio.sleep(0)
        if failures := self._failures.get(str(event.subject)):
            raise failures.pop(0)

    @property
    def subjects(self) -> list[str | None]:
        """The commands that the events are about."""
        return [event.subject for event in self.events]


def consume(bound: BrokerClient, handler: Any, number: int, **options: Any) -> None:
    """Run a handler until it was called so often."""

    async def main() -> None:
        async with consumer(bound.url, **options) as events:
            await handled(events, handler, lambda: len(handler.events) >= number)

    run(main())


def test_events_come_typed_one_by_one_and_are_off_the_queue_after_their_handler(bound: BrokerClient) -> None:
    handler = Handler()
    for command_id in ("c1", "c2", "c1"):
        publish(bound, command_id)

    async def main() -> None:
        async with consumer(bound.url) as events:
            running = asyncio.create_task(events.run(handler))
            await until(lambda: len(handler.events) == 2)
            publish(bound, "c3")
            await until(lambda: len(handler.events) == 3)
            events.stop()
            await running

    run(main())
    wait_until(lambda: not bound.consumers(QUEUE), what="the end of the consumer")

    assert handler.subjects == ["c1", "c2", "c3"]
    assert isinstance(handler.events[0], Outcome)
    assert bound.depth(QUEUE) == 0


def test_a_handler_that_fails_is_retried_and_its_event_is_dead_lettered_as_in_the_other_client(
    bound: BrokerClient, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Handler(
        twice=[ValueError("+16131234567"), asyncio.CancelledError()],
        poison=[OSError() for _ in range(9)],
        later=[RetryLater() for _ in range(4)],
        useless=[Discard()],
    )
    for command_id in ("twice", "poison", "later", "useless", "last"):
        publish(bound, command_id)
    consume(bound, handler, 13, tries=3)
    dead = {message.json["subject"] for message in bound.take(DEAD, 2)}

    assert handler.subjects == [*["twice"] * 3, *["poison"] * 3, *["later"] * 5, "useless", "last"]
    assert dead == {"poison", "useless"}
    assert "error=ValueError" in caplog.text
    assert "+1613" not in caplog.text


def test_a_run_that_is_cancelled_loses_no_event_and_the_next_run_has_it_first(bound: BrokerClient) -> None:
    handler = Handler()
    for command_id in ("c1", "c2"):
        publish(bound, command_id)

    async def main() -> None:
        reached = asyncio.Event()

        async def hang(event: Event) -> None:
            reached.set()
            await asyncio.Future()

        async with consumer(bound.url) as events:
            for _ in range(2):
                running = asyncio.create_task(events.run(hang))
                await reached.wait()
                reached.clear()
                running.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await running
            await handled(events, handler, lambda: len(handler.events) == 2)

    run(main())

    assert handler.subjects == ["c1", "c2"]
    assert bound.depth(QUEUE) == 0


def test_a_loop_acks_what_it_has_left_behind_and_the_next_loop_begins_with_what_it_broke_off_over(
    bound: BrokerClient,
) -> None:
    for command_id in ("c1", "c2", "c3", "c4"):
        publish(bound, command_id)
    seen: list[str | None] = []

    async def main() -> None:
        async with consumer(bound.url) as events:
            for last in ("c2", "c3"):
                async for event in events:
                    seen.append(event.subject)
                    if event.subject == last:
                        break

    run(main())
    wait_until(lambda: bound.depth(QUEUE) == 2, what="two left")

    assert seen == ["c1", "c2", "c2", "c3"]


@pytest.mark.parametrize("place", ["a handler", "another thread", "a signal's handler"])
def test_stop_ends_a_run_from_anywhere_also_in_a_pause(place: str, bound: BrokerClient) -> None:
    handler = Handler(c1=[RetryLater() for _ in range(9)])
    publish(bound, "c1")

    async def main() -> None:
        async with consumer(bound.url, first_pause=600.0) as events:
            running = asyncio.create_task(events.run(handler))
            await until(lambda: len(handler.events) == 1)
            if place == "another thread":
                threading.Thread(target=events.stop).start()
            elif place == "a signal's handler":
                before = signal.signal(signal.SIGUSR1, lambda *_: events.stop())
                os.kill(os.getpid(), signal.SIGUSR1)
                signal.signal(signal.SIGUSR1, before)
            else:
                events.stop()
            await running

    run(main(), within=30)
    wait_until(lambda: bound.depth(QUEUE) == 1, what="the event, back on its queue")

    assert handler.subjects == ["c1"]


def test_a_memory_may_be_asynchronous(bound: BrokerClient) -> None:
    remembered = {"seen before"}

    class Seen:
        async def has(self, event_id: str) -> bool:
            await asyncio.sleep(0)
            return event_id in remembered

        async def add(self, event_id: str) -> None:
            await asyncio.sleep(0)
            remembered.add(event_id)

    remembered.add(publish(bound, "known"))
    publish(bound, "new")
    handler = Handler()
    consume(bound, handler, 1, seen=Seen())

    assert handler.subjects == ["new"]
    assert handler.events[0].id in remembered


def test_a_handler_that_is_a_generator_or_returns_one_is_refused_and_loses_nothing(
    bound: BrokerClient,
) -> None:
    def generator(event: Event) -> Any:
        yield event

    async def asynchronous(event: Event) -> Any:
        yield event

    publish(bound, "c1")

    async def main() -> None:
        async with consumer(bound.url) as events:
            for handler in (generator, asynchronous):
                with pytest.raises(TypeError, match="without `yield`"):
                    await events.run(handler)
            with pytest.raises(TypeError, match="handler returned a generator"):
                await events.run(lambda event: generator(event))
        with pytest.raises(Closed):
            await events.run(asynchronous_nothing)

    run(main())
    wait_until(lambda: bound.depth(QUEUE) == 1, what="the event, back on its queue")


async def asynchronous_nothing(event: Event) -> None:
    raise AssertionError("no event")


def test_a_queue_with_other_properties_is_refused(amqp: BrokerClient) -> None:
    amqp.declare_queue(QUEUE)

    async def main() -> None:
        async with consumer(amqp.url) as events:
            with pytest.raises(QueueRefused, match=r"billing\.sms.*inequivalent.*declare=False"):
                await events.run(asynchronous_nothing)

    run(main())


def test_a_consumer_waits_for_a_broker_and_can_be_cancelled_meanwhile() -> None:
    async def main() -> None:
        async with consumer(f"amqp://127.0.0.1:{free_port()}/", seen=SeenInMemory(1)) as events:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await events.run(asynchronous_nothing)

    run(main(), within=30)
