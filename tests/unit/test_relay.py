"""What other threads have found out comes to the event loop, all of it, however little it is woken."""

from __future__ import annotations

import asyncio
import threading

from bridge.runtime.relay import Relay


def test_what_many_threads_settle_all_comes() -> None:
    async def scenario() -> list[int]:
        relay = Relay.here(None)
        futures = [relay.future() for _ in range(2_000)]

        def settle(first: int) -> None:
            for number in range(first, len(futures), 4):
                relay.settle(futures[number], number)

        threads = [threading.Thread(target=settle, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        async with asyncio.timeout(30):
            found: list[int] = await asyncio.gather(*futures)
        for thread in threads:
            thread.join()
        return found

    assert asyncio.run(scenario()) == list(range(2_000))


def test_nobody_is_told_twice_and_who_has_gone_is_not_told() -> None:
    async def scenario() -> int:
        relay = Relay.here(None)
        gone, waiting = relay.future(), relay.future()
        gone.cancel()
        for future, value in ((gone, 1), (waiting, 2), (waiting, 3)):
            relay.settle(future, value)
        async with asyncio.timeout(10):
            found: int = await waiting
        return found

    assert asyncio.run(scenario()) == 2


def test_a_loop_that_is_closed_is_left_alone() -> None:
    async def scenario() -> tuple[Relay, asyncio.Future[int]]:
        relay = Relay.here(None)
        return relay, relay.future()

    relay, future = asyncio.run(scenario())
    relay.settle(future, 1)

    assert not future.done()


def test_each_loop_has_its_own() -> None:
    async def scenario(last: Relay | None) -> Relay:
        first = Relay.here(last)
        assert Relay.here(first) is first
        return first

    first = asyncio.run(scenario(None))

    assert asyncio.run(scenario(first)) is not first
