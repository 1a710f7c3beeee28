"""Admission: submissions that wait until they may be claimed, and those that wait for a time.

On the loop's thread, but for `limited`.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from typing import TYPE_CHECKING

from bridge.worker.actions import WaitHere

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.worker.actions import ClaimSubmission, Pause
    from bridge.worker.execution import Branch, Execution


class Admission:
    """Keeps branches of deliveries in the order in which they go on. Times are in seconds since the epoch."""

    def __init__(self, spare: int) -> None:
        """Make an empty one, in which `spare` submissions may wait for their rate limit."""
        self._spare = spare
        #: Submissions that wait to be claimed, the next one first.
        self.asking: deque[Branch] = deque()
        #: Branches that wait for a time, as a heap: the first one is over first.
        self.waiting: list[tuple[float, int, Branch]] = []
        self._numbers = itertools.count()

    @property
    def limited(self) -> int:
        """How many wait for their rate limit. From any thread: the copy is one step of the interpreter."""
        return sum(isinstance(branch.waits_for, WaitHere) for _, _, branch in tuple(self.waiting))

    def ask(self, branch: Branch, action: ClaimSubmission) -> None:
        """Have a submission wait to be claimed: behind the others, unless its slot of a rate limit has come."""
        branch.waits_for = action
        if branch.has_waited:
            branch.has_waited = False
            self.asking.appendleft(branch)
        else:
            self.asking.append(branch)

    def wait_for_limit(self, branch: Branch, action: WaitHere) -> bool:
        """Have a submission wait for its slot of a rate limit; returns whether there is room.

        It takes the place of one that could be sent: one busy sender must not take all places.
        """
        if len(self.waiting) >= self._spare:
            return False
        branch.has_waited = True
        self.wait(branch, action, action.until)
        return True

    def wait(self, branch: Branch, action: WaitHere | Pause, until: float) -> None:
        """Have a branch wait until a time."""
        branch.waits_for = action
        heapq.heappush(self.waiting, (until, next(self._numbers), branch))

    def due(self, now: float) -> Iterator[Branch]:
        """Yield the branches whose wait is over."""
        while self.waiting and self.waiting[0][0] <= now:
            yield heapq.heappop(self.waiting)[2]

    def remove(self, chosen: Callable[[Execution], bool]) -> list[Branch]:
        """Return all branches of the chosen deliveries, which then wait no more."""
        found = [branch for branch in self.asking if chosen(branch.execution)]
        found += [branch for _, _, branch in self.waiting if chosen(branch.execution)]
        self.asking = deque(branch for branch in self.asking if not chosen(branch.execution))
        self.waiting = [wait for wait in self.waiting if not chosen(wait[2].execution)]
        heapq.heapify(self.waiting)
        return found

    def clock_set(self, step: float) -> None:
        """Wait as long as before: the time was set by `step` seconds."""
        # The same step for all keeps the order of the heap.
        self.waiting = [(at + step, number, branch) for at, number, branch in self.waiting]
