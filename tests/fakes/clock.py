"""A clock that the test advances: fills `bridge.ports.Clock`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class HandClock:
    """The wall clock and the monotonic clock, in seconds."""

    wall: float = 1_600_000_000.0
    mono: float = 1000.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    def pass_by(self, seconds: float) -> None:
        """Advance both clocks."""
        self.wall += seconds
        self.mono += seconds
