"""The table of a run: what was done to the bridge, and what it made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tests.harness.documents import markdown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.faults.verdict import Verdict

DOCUMENT = Path(__file__).parents[2] / "docs" / "internals" / "fault-tables.md"
HEAD = (
    "scenario", "seed", "faults fired", "commands", "sent", "undeliverable", "rejected", "expired", "failed", "unknown",
    "sent twice", "lost", "events again", "recovery s", "peak RSS MB", "verdict",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One scenario's line."""

    scenario: str
    seed: int
    fired: Mapping[str, int]
    commands: int
    verdict: Verdict
    #: Seconds from the end of a fault to the next accepted send, the longest of the run; None where none was taken.
    recovery: float | None = None
    #: The most memory that a worker had, in MB.
    rss: float = 0.0

    def cells(self) -> list[str]:
        """Return the line's cells, in the order of `HEAD`."""
        verdict, outcomes = self.verdict, self.verdict.outcomes
        counts = [
            outcomes[name] for name in ("sent", "undeliverable", "rejected", "expired", "failed", "unknown")
        ]
        return [
            self.scenario,
            str(self.seed),
            ", ".join(f"{number} {name}" for name, number in self.fired.items()),
            str(self.commands),
            *map(str, counts),
            str(verdict.provider_duplicates),
            str(verdict.lost),
            str(verdict.duplicate_events),
            "" if self.recovery is None else f"{self.recovery:.1f}",
            f"{self.rss:.0f}" if self.rss else "",
            "; ".join(verdict.violations) or "kept",
        ]


class Line(Protocol):
    """A scenario's line of a table."""

    def cells(self) -> list[str]:
        """Return the line's cells, in the order of the table's head."""
        ...


@dataclass(slots=True)
class Report:
    """The lines of this run, under one head."""

    head: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)

    def note(self, row: Line) -> None:
        """Add a scenario's line."""
        self.rows.append(row.cells())

    def table(self) -> str:
        """Return the table in Markdown."""
        return markdown(self.head, self.rows)
