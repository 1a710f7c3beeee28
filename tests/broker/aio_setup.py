"""The asyncio client as the tests of this directory use it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from bridge.client import Options
from bridge.client.aio import Client, Consumer
from tests.broker.client_setup import QUEUE, consuming

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from bridge.client import Event


def client(url: str, timeout: float = 10.0) -> Client:
    """Return a client in a hurry."""
    return Client(url, Options(connect_timeout=1.0), timeout=timeout)


def consumer(url: str, **options: Any) -> Consumer:
    """Return a consumer in a hurry."""
    return Consumer(url, QUEUE, options=Options(connect_timeout=1.0), **consuming(**options))


def run(main: Coroutine[Any, Any, Any], within: float = 60) -> Any:
    """Run a coroutine on a loop of its own, and fail where it takes too long."""

    async def bounded() -> Any:
        async with asyncio.timeout(within):
            return await main

    return asyncio.run(bounded())


async def until(condition: Callable[[], bool], within: float = 15) -> None:
    """Wait for a condition while the loop goes on."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)


async def handled(events: Consumer, handler: Callable[[Event], Any], enough: Callable[[], bool]) -> None:
    """Run a handler until there is enough of it; stop the consumer and wait for its end."""
    running = asyncio.create_task(events.run(handler))
    ending = asyncio.create_task(until(lambda: enough() or running.done()))
    await ending
    events.stop()
    await running
