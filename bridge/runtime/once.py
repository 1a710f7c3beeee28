"""Lets each notification become an event once, however often and wherever it comes (SPEC section 6).

The order is the guarantee: **look, publish, note, answer.** It is noted only once it is durable, so a crash before
that costs a second event with the same id; noted any sooner, the repeat would be answered 204 and lost.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Fate(Enum):
    """What became of a notification."""

    #: It is an event now: with the broker, or in the spool.
    PUBLISHED = auto()
    #: It was one already.
    REPEATED = auto()
    #: Neither: it has to come again.
    REFUSED = auto()


class Keeper(Protocol):
    """Who remembers: `bridge.runtime.seen.SeenKeeper`."""

    async def known(self, event_id: str) -> bool:
        """Return whether the event was noted; False where nobody can tell soon."""
        ...

    async def note(self, event_id: str) -> None:
        """Note an event that is durable."""
        ...


class Once:
    """Used on one event loop."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        #: What is being published, by event id.
        self._under_way: dict[str, asyncio.Task[Fate]] = {}

    async def publish(self, event_id: str, publish: Callable[[], Awaitable[bool]]) -> Fate:
        """Have `publish` make the event durable, unless it is; it returns whether it could.

        Who comes while the same event is being published shares its fate.
        """
        first = self._under_way.get(event_id)
        if first is not None:
            fate = await asyncio.shield(first)
            return Fate.REPEATED if fate is Fate.PUBLISHED else fate
        task = asyncio.get_running_loop().create_task(self._see_through(event_id, publish))
        self._under_way[event_id] = task
        task.add_done_callback(lambda _: self._under_way.pop(event_id, None))
        # Others may wait for it, so it goes on where this request is given up.
        return await asyncio.shield(task)

    async def _see_through(self, event_id: str, publish: Callable[[], Awaitable[bool]]) -> Fate:
        if await self._keeper.known(event_id):
            return Fate.REPEATED
        if not await publish():
            return Fate.REFUSED
        await self._keeper.note(event_id)
        return Fate.PUBLISHED
