"""Results of other threads all reach the event loop, with few wake-ups."""

from __future__ import annotations

import asyncio
import threading

from bridge.concurrency.event_loop import LoopCaller


def test_results_of_many_threads_all_arrive() -> None:
    async def scenario() -> list[int]:
        caller = LoopCaller.here(None)
        found: list[int] = []
        over = asyncio.Event()

        def record(number: int) -> None:
            found.append(number)
            if len(found) == 2_000:
                over.set()

        def call_all(first: int) -> None:
            for number in range(first, 2_000, 4):
                caller.call(record, number)

        threads = [threading.Thread(target=call_all, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        async with asyncio.timeout(30):
            await over.wait()
        for thread in threads:
            thread.join()
        return found

    assert sorted(asyncio.run(scenario())) == list(range(2_000))


def test_exception_in_a_callback_is_reported_and_other_callbacks_run() -> None:
    async def scenario() -> tuple[list[str], list[int]]:
        confirmed: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: confirmed.append(repr(context["exception"])))
        caller, found, over = LoopCaller.here(None), list[int](), asyncio.Event()

        def broken(_: int) -> None:
            raise RuntimeError("broken")

        caller.call(found.append, 1)
        caller.call(broken, 2)
        caller.call(found.append, 3)
        caller.call(lambda _: over.set(), None)
        async with asyncio.timeout(10):
            await over.wait()
        return confirmed, found

    assert asyncio.run(scenario()) == (["RuntimeError('broken')"], [1, 3])


def test_closed_event_loop_is_ignored() -> None:
    async def scenario() -> LoopCaller:
        return LoopCaller.here(None)

    caller, found = asyncio.run(scenario()), list[int]()
    caller.call(found.append, 1)

    assert found == []


def test_each_event_loop_has_its_own_caller() -> None:
    async def scenario(last: LoopCaller | None) -> LoopCaller:
        first = LoopCaller.here(last)
        assert LoopCaller.here(first) is first
        return first

    first = asyncio.run(scenario(None))

    assert asyncio.run(scenario(first)) is not first
