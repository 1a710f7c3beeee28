"""The table of the cluster's scenarios: what was done to the nodes, and what the bridge made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.faults.verdict import Verdict

HEAD = (
    "scenario", "faults fired", "commands", "sent", "other outcomes", "sent twice", "lost", "events again",
    "webhooks answered 2xx", "without an event", "standstill s", "slowest command s", "verdict",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """The figures of a scenario besides the verdict. Times are in seconds."""

    #: Webhooks that were answered 2xx, and how many of these are no event.
    accepted: int
    missing: int
    #: The longest time under load in which the provider took no send.
    standstill: float
    #: The longest time from a command's first publish to the provider; commands with `send_at` are left out.
    slowest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRow:
    """One scenario's line."""

    scenario: str
    fired: Mapping[str, int]
    commands: int
    verdict: Verdict
    sums: Sums

    def cells(self) -> list[str]:
        """Return the line's cells, in the order of `HEAD`."""
        verdict, sums = self.verdict, self.sums
        return [
            self.scenario,
            ", ".join(f"{number} {name}" for name, number in self.fired.items()),
            str(self.commands),
            str(verdict.outcomes["sent"]),
            ", ".join(f"{number} {name}" for name, number in verdict.outcomes.items() if name != "sent"),
            str(verdict.provider_duplicates),
            str(verdict.lost),
            str(verdict.duplicate_events),
            str(sums.accepted),
            str(sums.missing),
            f"{sums.standstill:.1f}",
            f"{sums.slowest:.1f}",
            "; ".join(verdict.violations) or "kept",
        ]
