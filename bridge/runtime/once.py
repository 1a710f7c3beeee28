"""Lets each notification become an event once, however often and wherever it comes (SPEC section 6).

The order is the guarantee: **look, publish, note, answer.** It is noted only once it is durable, so a crash before
that costs a second event with the same id; noted any sooner, the repeat would be answered 204 and lost.

A request waits for so long and no longer, but its event stays under way until its fate is known: a confirm that comes
after the 503 is noted all the same, and a repeat that comes before it waits with the first.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence


class Fate(Enum):
    """What became of a notification."""

    #: It is an event now: with the broker, or in the spool.
    PUBLISHED = auto()
    #: It was one already.
    REPEATED = auto()
    #: Neither, or not yet: it has to come again.
    REFUSED = auto()


#: Events under way at once.
LIMIT = 5_000


class Keeper(Protocol):
    """Who remembers: `bridge.runtime.seen.SeenKeeper`."""

    async def known(self, ids: Collection[str]) -> Collection[str]:
        """Return those of the event ids that were noted; none where nobody can tell soon."""
        ...

    async def note(self, ids: Collection[str]) -> None:
        """Note the ids of an event that is durable."""
        ...


class Once:
    """Used on one event loop."""

    def __init__(self, keeper: Keeper, *, limit: int = LIMIT) -> None:
        """Beyond `limit` ids under way, others are refused."""
        self._keeper = keeper
        self._limit = limit
        #: What is being published, by each id that it is known by.
        self._under_way: dict[str, asyncio.Task[Fate]] = {}

    async def publish(
        self, ids: Sequence[str], publish: Callable[[], Awaitable[bool]], *, until: float
    ) -> Fate:
        """Have `publish` make the event durable, unless it is; it returns whether it could, when that is certain.

        It is the same as any event that has one of its `ids`. Who comes while it is under way shares its fate. At
        `until`, in the event loop's time, nobody waits any longer: REFUSED then means that its fate is open.
        """
        task = next((self._under_way[id_] for id_ in ids if id_ in self._under_way), None)
        is_first = task is None
        if task is None:
            if len(self._under_way) >= self._limit:
                return Fate.REFUSED
            task = self._begin(ids, publish)
        try:
            # Others may wait for it, so it goes on where this request is given up.
            async with asyncio.timeout_at(until):
                fate = await asyncio.shield(task)
        except TimeoutError:
            return Fate.REFUSED
        return fate if is_first or fate is not Fate.PUBLISHED else Fate.REPEATED

    def _begin(self, ids: Sequence[str], publish: Callable[[], Awaitable[bool]]) -> asyncio.Task[Fate]:
        task = asyncio.get_running_loop().create_task(self._see_through(ids, publish))
        self._under_way.update(dict.fromkeys(ids, task))
        task.add_done_callback(lambda _: self._end(ids))
        return task

    def _end(self, ids: Sequence[str]) -> None:
        for id_ in ids:
            del self._under_way[id_]

    async def _see_through(self, ids: Sequence[str], publish: Callable[[], Awaitable[bool]]) -> Fate:
        known = await self._keeper.known(ids)
        if not known and not await publish():
            return Fate.REFUSED
        # A repeat may be known by one of its ids and come by another the next time.
        if unknown := [id_ for id_ in ids if id_ not in known]:
            await self._keeper.note(unknown)
        return Fate.REPEATED if known else Fate.PUBLISHED
