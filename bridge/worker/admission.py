"""Admission queue: submissions that wait to be claimed, and branches that wait for a time.

Used on the loop's thread, except `limited`.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from typing import TYPE_CHECKING

from bridge.worker.actions import WaitHere

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.ports import Clock
    from bridge.worker.actions import ClaimSubmission, Pause
    from bridge.worker.execution import Branch, Execution
    from bridge.worker.flow_control import FlowControl

#: Seconds between two iterations of the loop while flow control, a pause or a stop holds something up.
POLL = 0.1
#: Seconds between two iterations otherwise, at most.
IDLE = 1.0


class Admission:
    """Keeps branches of deliveries in the order in which they continue. Times are in seconds since the epoch."""

    def __init__(self, spare: int, flow_control: FlowControl, clock: Clock) -> None:
        """Create an empty queue, in which at most `spare` submissions wait for their rate limit."""
        self._spare = spare
        self._flow_control = flow_control
        self._clock = clock
        #: Submissions that wait to be claimed, the next one first.
        self.unclaimed: deque[Branch] = deque()
        #: Branches that wait for a time, as a heap by that time.
        self.waiting: list[tuple[float, int, Branch]] = []
        self._numbers = itertools.count()

    @property
    def limited(self) -> int:
        """The number of submissions that wait for their rate limit. Thread-safe, since copying a list is atomic."""
        return sum(isinstance(branch.waits_for, WaitHere) for _, _, branch in tuple(self.waiting))

    def ask(self, branch: Branch, action: ClaimSubmission) -> None:
        """Queue a submission to be claimed: at the end, or at the head if it has waited for its rate limit."""
        branch.waits_for, branch.index = action, action.index
        if branch.has_waited:
            branch.has_waited = False
            self.unclaimed.appendleft(branch)
        else:
            self.unclaimed.append(branch)

    def wait_for_limit(self, branch: Branch, action: WaitHere) -> bool:
        """Let a submission wait for its reservation of a rate limit; returns whether there is capacity.

        The capacity is limited because waiting submissions occupy the prefetch: one busy sender must not use it all.
        """
        if len(self.waiting) >= self._spare:
            return False
        branch.has_waited = True
        self.wait(branch, action, action.until)
        return True

    def wait(self, branch: Branch, action: WaitHere | Pause, until: float) -> None:
        """Let a branch wait until a time."""
        branch.waits_for = action
        heapq.heappush(self.waiting, (until, next(self._numbers), branch))

    def due(self) -> list[Branch]:
        """Return the branches whose wait is over."""
        now, found = self._clock.now(), []
        while self.waiting and self.waiting[0][0] <= now:
            found.append(heapq.heappop(self.waiting)[2])
        return found

    def admit(self) -> list[Branch]:
        """Remove and return the submissions to claim now; each counts as in flight."""
        count = min(len(self.unclaimed), self._flow_control.enter(len(self.unclaimed)))
        return [self.unclaimed.popleft() for _ in range(count)]

    def wait_seconds(self) -> float:
        """Return the seconds until a wait is over, or until flow control is checked again."""
        if self.unclaimed and not self._flow_control.has_capacity():
            return POLL
        return min(IDLE, max(0.0, self.waiting[0][0] - self._clock.now())) if self.waiting else IDLE

    def remove(self, chosen: Callable[[Execution], bool]) -> list[Branch]:
        """Remove and return all branches of the chosen deliveries."""
        found = [branch for branch in self.unclaimed if chosen(branch.execution)]
        found += [branch for _, _, branch in self.waiting if chosen(branch.execution)]
        self.unclaimed = deque(branch for branch in self.unclaimed if not chosen(branch.execution))
        self.waiting = [wait for wait in self.waiting if not chosen(wait[2].execution)]
        heapq.heapify(self.waiting)
        return found

    def clock_set(self, step: float) -> None:
        """Keep the remaining waits after the clock was set by `step` seconds."""
        # The same step for all keeps the order of the heap.
        self.waiting = [(at + step, number, branch) for at, number, branch in self.waiting]
