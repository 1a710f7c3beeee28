"""The one place that reads the time."""

from __future__ import annotations

import time

#: Linux has one that goes on while the machine is suspended: what a lease may have ended in.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        """Return the wall clock, in seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start, never going back."""
        return time.clock_gettime(_STEADY)
