"""Whether the threads that a process can't do without go on: each counts its rounds, and somebody looks at times."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.ports import Clock

#: Seconds without a round after which a thread stands still. The longest that each may wait for others: 10 s for a
#: connection and 5 s until the next, 12 s for a database.
TIMEOUT = 30.0


class ThreadProgress:
    """Looks at counters. From any thread; asks nobody, waits for nothing."""

    def __init__(self, clock: Clock, *, timeout: float = TIMEOUT) -> None:
        """`timeout` is in seconds; what is looked at less often than that is taken to go on."""
        self._clock = clock
        self._timeout = timeout
        self._lock = threading.Lock()
        self._iterations: dict[str, Callable[[], int]] = {}
        #: What each had counted when it last had more than before, and when that was (monotonic seconds).
        self._seen: dict[str, tuple[int, float]] = {}

    def watch(self, name: str, iterations: Callable[[], int]) -> None:
        """Look at a counter from now on; `name` is for people."""
        with self._lock:
            self._seen[name] = iterations(), self._clock.monotonic()
            self._iterations[name] = iterations

    def stall(self) -> str | None:
        """Say which of them stands still, and for how long; None where all go on."""
        now = self._clock.monotonic()
        with self._lock:
            for name, iterations in self._iterations.items():
                count, since = self._seen[name]
                if iterations() != count:
                    self._seen[name] = iterations(), now
                elif now - since > self._timeout:
                    return f"{name} has stood still for more than {self._timeout:g} s"
        return None
