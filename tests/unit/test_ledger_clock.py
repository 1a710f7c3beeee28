"""The ledger clock: it continues monotonically and is compared with the wall clock."""

from __future__ import annotations

import pytest

from bridge.worker.ledger_clock import DRIFT, LedgerClock


class TwoClocks:
    """A wall clock that can be set, and a monotonic one."""

    def __init__(self) -> None:
        self.wall, self.monotonic_time = 1_800_000_000.0, 5.0

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic_time += seconds

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.monotonic_time


def test_wall_clock_step_is_followed_after_the_comparison_only() -> None:
    clocks = TwoClocks()
    clock = LedgerClock(clocks)
    clocks.pass_(10)
    clocks.wall += 86_400

    assert clock.now() == 1_800_000_010
    assert clock.compare() == pytest.approx(86_400)
    assert clock.now() == 1_800_086_410
    assert clock.compare() is None


@pytest.mark.parametrize("drift", [DRIFT, -DRIFT])
def test_clock_drift_is_followed_silently(drift: float) -> None:
    clocks = TwoClocks()
    clock = LedgerClock(clocks)
    clocks.wall += drift

    assert clock.compare() is None
    assert clock.now() == clocks.wall


def test_time_of_the_ledger_replaces_the_time_of_the_machine() -> None:
    clocks = TwoClocks()
    clock = LedgerClock(clocks, ledger_time=1_700_000_000.0)
    clocks.wall += 1e9
    clocks.pass_(3)

    assert clock.now() == 1_700_000_003
    assert clock.compare(1_700_000_003.2) is None
    assert clock.compare(1_700_000_000.0) == pytest.approx(-3.2)
