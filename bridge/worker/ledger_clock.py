"""Ledger clock: the wall-clock time of the ledger's database, advanced by the monotonic clock between comparisons.

Leases and waits are measured in it, so all workers of a ledger need one time. It comes from the database if that has a
clock. A wall clock that is set between two comparisons is noticed, and not followed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.ports import Clock

#: Seconds by which two readings may differ without a clock step: slewing, and the latency of the server.
DRIFT = 1.0


class LedgerClock:
    """Implements the port `Clock`. One thread compares; any thread may read."""

    def __init__(self, clock: Clock, ledger_time: float | None = None) -> None:
        """`ledger_time` is the ledger's time now, in seconds since the epoch; without it, the machine's time counts."""
        self._clock = clock
        self._ahead = (clock.now() if ledger_time is None else ledger_time) - clock.monotonic()

    def now(self) -> float:
        """Return the time, in seconds since the epoch."""
        return self._clock.monotonic() + self._ahead

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start, never going back."""
        return self._clock.monotonic()

    def compare(self, ledger_time: float | None = None) -> float | None:
        """Follow `ledger_time` from now on; without it, the machine's time.

        Returns the seconds of a clock step since the last comparison; None if the clocks only drifted.
        """
        ahead = (self._clock.now() if ledger_time is None else ledger_time) - self._clock.monotonic()
        step = ahead - self._ahead
        self._ahead = ahead
        return step if abs(step) > DRIFT else None
