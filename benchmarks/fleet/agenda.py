"""An agenda of events and the resources that take time: processors, a disk, threads and locks. Times in seconds."""

from __future__ import annotations

import heapq
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    Then: TypeAlias = Callable[[], None]


class Agenda:
    """The events, in the order of their times."""

    def __init__(self) -> None:
        self.now = 0.0
        self._numbers = count()
        self._heap: list[tuple[float, int, Then]] = []

    def after(self, seconds: float, what: Then) -> None:
        """Schedule it so much later."""
        heapq.heappush(self._heap, (self.now + seconds, next(self._numbers), what))

    def run(self, over: Callable[[], bool]) -> None:
        """Let things happen until it is over, or nothing is left."""
        while self._heap and not over():
            self.now, _, what = heapq.heappop(self._heap)
            what()


class Cores:
    """Processors that take work in the order it comes."""

    def __init__(self, agenda: Agenda, number: int) -> None:
        self._agenda = agenda
        self._free = [0.0] * number
        self.busy = 0.0

    def run(self, seconds: float, then: Then) -> None:
        """Work for so long, then go on."""
        end = max(self._agenda.now, self._free[0]) + seconds
        heapq.heapreplace(self._free, end)
        self.busy += seconds
        self._agenda.after(end - self._agenda.now, then)

    @property
    def share(self) -> float:
        """The share of the time so far that they were busy."""
        ahead = sum(max(0.0, free - self._agenda.now) for free in self._free)
        return (self.busy - ahead) / len(self._free) / self._agenda.now


class Turns:
    """A resource with one holder at a time: a thread, or a lock."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._waiting: deque[Callable[[Then], None]] = deque()
        self._taken_at: float | None = None
        self.busy = 0.0

    def take(self, work: Callable[[Then], None]) -> None:
        """Begin `work` once the resource is free; `work` calls its argument when it is done."""
        self._waiting.append(work)
        if self._taken_at is None:
            self._next()

    @property
    def share(self) -> float:
        """The share of the time so far in which it was held."""
        return self.busy / self._agenda.now

    def _next(self) -> None:
        self._taken_at = self._agenda.now
        self._waiting.popleft()(self._done)

    def _done(self) -> None:
        assert self._taken_at is not None
        self.busy += self._agenda.now - self._taken_at
        self._taken_at = None
        if self._waiting:
            self._next()


class Log:
    """A log on a disk: all that wait for it while a sync is under way are written by the next one."""

    def __init__(self, agenda: Agenda, seconds: float) -> None:
        self._agenda = agenda
        self._seconds = seconds
        #: When the last sync ends, or will.
        self._end = 0.0

    def sync(self, then: Then) -> None:
        """Continue once the log is on the disk."""
        now = self._agenda.now
        if self._end <= now:
            self._end = now + self._seconds
        elif self._end - self._seconds <= now:
            # A sync is running that does not include this write.
            self._end += self._seconds
        self._agenda.after(self._end - now, then)
