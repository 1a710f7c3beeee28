"""The time that a worker's decisions go by: that of all who share its ledger, carried on by a clock that nobody sets.

Leases and waits are counted in it. So it comes from one place, the ledger's database where that has a clock, and
between two comparisons it goes on by itself: a wall clock that is set in the meantime is noticed, not followed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.ports import Clock

#: Seconds that two readings of one time may differ by for reasons of its own: slewing, the way from a server.
DRIFT = 1.0


class LedgerClock:
    """Fills the port `Clock`. One thread compares; any may read."""

    def __init__(self, clock: Clock, ledger_time: float | None = None) -> None:
        """`ledger_time` is the ledger's time now, in seconds since the epoch; without it the machine's own is taken."""
        self._clock = clock
        self._ahead = (clock.now() if ledger_time is None else ledger_time) - clock.monotonic()

    def now(self) -> float:
        """Return the time, in seconds since the epoch."""
        return self._clock.monotonic() + self._ahead

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start, never going back."""
        return self._clock.monotonic()

    def compare(self, ledger_time: float | None = None) -> float | None:
        """Go by `ledger_time` from now on, the machine's own time where it is None.

        Returns by how many seconds the time was set since the last comparison; None where it merely drifted.
        """
        ahead = (self._clock.now() if ledger_time is None else ledger_time) - self._clock.monotonic()
        step = ahead - self._ahead
        self._ahead = ahead
        return step if abs(step) > DRIFT else None
