"""The system clock, the only reader of the time."""

from __future__ import annotations

import time

#: Linux's CLOCK_BOOTTIME counts a suspension of the machine, during which a lease may end.
_MONOTONIC = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        """Return the wall clock, in seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start, never going back."""
        return time.clock_gettime(_MONOTONIC)
