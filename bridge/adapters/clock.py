"""The one place that reads the time."""

from __future__ import annotations

import time


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        """Return the wall clock, in seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start, never going back."""
        return time.monotonic()
