"""Notifications in flight: concurrent repeats, later repeats, and late confirms."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from bridge.adapters.clock import SystemClock
from bridge.domain.events import INBOUND_RECEIVED, make_event
from bridge.domain.outcomes import EventFormat
from bridge.ingest.execution import NotificationSettings
from bridge.ingest.executor import NotificationExecutor
from bridge.ingest.notification import NotificationFlow, NotificationRules
from bridge.ingest.report import NotificationReport
from bridge.ops.metrics import Metrics
from bridge.ports.http_results import NotificationResult
from tests.fakes.memory import FakeMemory

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.concurrency.event_loop import LoopCaller
    from bridge.domain.events import Event

PUBLISHED = NotificationResult.PUBLISHED
REPEATED = NotificationResult.REPEATED
REFUSED = NotificationResult.REFUSED


class Publishing:
    """A fake of `DurablePublisher`: it makes events durable when a test permits, and counts its calls."""

    def __init__(self, *, durable: bool = True) -> None:
        self.asked = 0
        self.durable = durable
        self.broken = False
        self.held = asyncio.Event()

    def make_durable(self, _: Event, durable: Callable[[bool], None], _caller: LoopCaller) -> None:
        if self.broken:
            raise RuntimeError("broken")
        self.asked += 1
        # A confirm may come twice.
        for _confirm in range(2):
            waiting = asyncio.ensure_future(self.held.wait())
            waiting.add_done_callback(lambda _: durable(self.durable))


def executing(
    publishing: Publishing, memory: FakeMemory | None = None, *, within: float = 20.0, limit: int = 100
) -> NotificationExecutor:
    """Return an executor whose requests wait for that number of seconds."""
    clock = SystemClock()
    return NotificationExecutor(
        NotificationSettings(
            rules=NotificationRules(style=EventFormat(source="/s")), confirm_timeout=within, limit=limit
        ),
        memory or FakeMemory(),
        publishing,
        report=NotificationReport(Metrics(version="0"), clock),
        clock=clock,
    )


async def bring(executor: NotificationExecutor, ids: str = "e1") -> NotificationResult:
    """Submit an event, which may have several ids."""
    answer: asyncio.Future[NotificationResult] = asyncio.get_running_loop().create_future()

    def answered(result: NotificationResult | Exception) -> None:
        assert not answer.done() or answer.cancelled()
        if isinstance(result, Exception):
            answer.set_exception(result)
        elif not answer.cancelled():
            answer.set_result(result)

    event = make_event(id=ids.split()[0], type=INBOUND_RECEIVED, source="/s", time=0.0, data={})
    flow = NotificationFlow(event, ids.split())
    executor._begin(flow, flow.publish(), answered)
    return await answer


async def settled() -> None:
    """Let all tasks run until they wait."""
    for _ in range(5):
        await asyncio.sleep(0)


async def together(
    executor: NotificationExecutor, publishing: Publishing, number: int
) -> list[NotificationResult]:
    """Submit the same notification `number` times, all before the first is published."""
    coming = [asyncio.create_task(bring(executor)) for _ in range(number)]
    await settled()
    publishing.held.set()
    return await asyncio.gather(*coming)


def test_one_of_several_concurrent_repeats_is_published_and_noted() -> None:
    async def scenario() -> None:
        memory, publishing = FakeMemory(), Publishing()
        results = await together(executing(publishing, memory), publishing, 5)

        assert results == [PUBLISHED, *[REPEATED] * 4]
        assert (publishing.asked, memory.noted) == (1, ["e1"])

    asyncio.run(scenario())


def test_no_request_is_a_repeat_when_the_first_is_not_durable() -> None:
    async def scenario() -> None:
        memory, publishing = FakeMemory(), Publishing(durable=False)
        executor = executing(publishing, memory)
        results = await together(executor, publishing, 3)
        publishing.durable = True
        later = await bring(executor)

        assert results == [REFUSED] * 3
        assert (later, publishing.asked, memory.noted) == (PUBLISHED, 2, ["e1"])

    asyncio.run(scenario())


def test_cancelled_request_does_not_affect_others() -> None:
    async def scenario() -> None:
        publishing = Publishing()
        executor = executing(publishing)
        first = asyncio.create_task(bring(executor))
        await settled()
        second = asyncio.create_task(bring(executor))
        await settled()
        first.cancel()
        await settled()
        publishing.held.set()

        assert await second is REPEATED
        assert (first.cancelled(), publishing.asked) == (True, 1)

    asyncio.run(scenario())


def test_event_is_noted_only_after_it_is_durable() -> None:
    async def scenario() -> None:
        memory, publishing = FakeMemory(), Publishing()
        coming = asyncio.create_task(bring(executing(publishing, memory)))
        await settled()
        before = list(memory.noted)
        publishing.held.set()
        await coming

        assert (publishing.asked, before, memory.noted) == (1, [], ["e1"])

    asyncio.run(scenario())


def test_exception_in_publishing_fails_all_waiting_requests_and_a_repeat_is_accepted() -> None:
    async def scenario() -> None:
        memory, publishing = FakeMemory(), Publishing()
        memory.hangs = publishing.broken = True
        executor = executing(publishing, memory)
        publishing.held.set()
        coming = [asyncio.create_task(bring(executor)) for _ in range(2)]
        await settled()
        memory.go()
        for request in coming:
            with pytest.raises(RuntimeError, match="broken"):
                await request
        publishing.broken = False

        assert await bring(executor) is PUBLISHED

    asyncio.run(scenario())


def test_late_confirm_is_noted_and_the_repeat_is_not_published() -> None:
    async def scenario() -> None:
        memory, publishing = FakeMemory(), Publishing()
        executor = executing(publishing, memory, within=0.05)
        first = await bring(executor)
        before = list(memory.noted)
        publishing.held.set()
        await settled()
        noted = list(memory.noted)

        assert (first, before, noted) == (REFUSED, [], ["e1"])
        assert await bring(executor) is REPEATED
        assert publishing.asked == 1

    asyncio.run(scenario())


def test_repeat_before_the_confirm_waits_for_the_publish_of_the_first() -> None:
    async def scenario() -> None:
        publishing = Publishing()
        executor = executing(publishing, within=0.3)
        refused = [await bring(executor) for _ in range(3)]
        last = asyncio.create_task(bring(executor))
        await settled()
        publishing.held.set()

        assert refused == [REFUSED] * 3
        assert (await last, publishing.asked) == (REPEATED, 1)

    asyncio.run(scenario())


def test_events_in_flight_are_limited_and_their_repeats_are_accepted() -> None:
    async def scenario() -> None:
        publishing = Publishing()
        executor = executing(publishing, limit=2)
        first = [asyncio.create_task(bring(executor, name)) for name in ("e1", "e2")]
        await settled()
        too_many = await bring(executor, "e3")
        again = asyncio.create_task(bring(executor, "e1"))
        await settled()
        asked = publishing.asked
        publishing.held.set()
        results = await asyncio.gather(*first, again)

        assert (too_many, asked) == (REFUSED, 2)
        assert results == [
            PUBLISHED,
            PUBLISHED,
            REPEATED,
        ]
        assert await bring(executor, "e3") is PUBLISHED

    asyncio.run(scenario())


def test_event_known_by_one_id_is_a_repeat_and_then_known_by_all_its_ids() -> None:
    async def scenario() -> None:
        memory, publishing = FakeMemory(), Publishing()
        publishing.held.set()
        executor = executing(publishing, memory)
        results = [await bring(executor, ids) for ids in ("n1", "s1 n1", "s1", "s2 n2", "n2")]

        assert results == [
            PUBLISHED,
            *[REPEATED] * 2,
            PUBLISHED,
            REPEATED,
        ]
        assert (publishing.asked, memory.noted) == (2, ["n1", "s1", "s2", "n2"])

    asyncio.run(scenario())


def test_concurrent_repeat_with_another_id_has_the_same_result() -> None:
    async def scenario() -> None:
        publishing = Publishing()
        executor = executing(publishing)
        coming = [asyncio.create_task(bring(executor, ids)) for ids in ("n1", "s1 n1", "n1")]
        await settled()
        publishing.held.set()

        assert await asyncio.gather(*coming) == [
            PUBLISHED,
            REPEATED,
            REPEATED,
        ]
        assert publishing.asked == 1

    asyncio.run(scenario())


def test_request_is_answered_in_time_and_published_while_the_ledger_hangs() -> None:
    async def scenario() -> None:
        memory, publishing = FakeMemory(timeout=0.2), Publishing()
        memory.hangs = True
        publishing.held.set()
        executor = executing(publishing, memory, within=0.05)
        first = await bring(executor)
        before = publishing.asked
        while not memory.noted:
            await asyncio.sleep(0.01)

        assert (first, before, publishing.asked) == (REFUSED, 0, 1)
        assert memory.unavailable
        memory.go()
        await settled()
        assert publishing.asked == 1

    asyncio.run(scenario())
