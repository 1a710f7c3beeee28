"""Thread progress: detects stalled threads by the iterations that each of them counts."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.ports import Clock

#: Seconds without an iteration after which a thread is stalled. The longest legitimate waits are 10 s for a connection
#: and 5 s until the next, and 12 s for a database.
TIMEOUT = 30.0


class ThreadProgress:
    """Compares iteration counters. Safe from any thread; never blocks."""

    def __init__(self, clock: Clock, *, timeout: float = TIMEOUT) -> None:
        """`timeout` is in seconds; a thread that is checked less often than that counts as running."""
        self._clock = clock
        self._timeout = timeout
        self._lock = threading.Lock()
        self._iterations: dict[str, Callable[[], int]] = {}
        #: The count of each thread at its last change, and the time of that change (monotonic seconds).
        self._seen: dict[str, tuple[int, float]] = {}

    def watch(self, name: str, iterations: Callable[[], int]) -> None:
        """Watch a counter from now on; `name` is shown to the operator."""
        with self._lock:
            self._seen[name] = iterations(), self._clock.monotonic()
            self._iterations[name] = iterations

    def stall(self) -> str | None:
        """Describe the first stalled thread; None if no thread is stalled."""
        now = self._clock.monotonic()
        with self._lock:
            for name, iterations in self._iterations.items():
                count, since = self._seen[name]
                if iterations() != count:
                    self._seen[name] = iterations(), now
                elif now - since > self._timeout:
                    return f"{name} has been stalled for more than {self._timeout:g} s"
        return None
