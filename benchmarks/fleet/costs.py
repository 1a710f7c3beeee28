"""The costs of the simulation: the medians of the benchmarks, divided into commands and commits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from benchmarks.fleet.plan import Costs
from benchmarks.tables import CALL, DATABASE, DECIDING, MEASURED, ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Changes that each command makes: its claim and its outcome.
CHANGES = 2
#: The row of "in flight" that the parts were measured at.
AT = 64


def read() -> dict[str, Any]:
    """Return the measurements."""
    measured: dict[str, Any] = json.loads(MEASURED.read_text())
    return measured


def costs_of(measured: dict[str, Any], ledger: str, *, network: float) -> Costs:
    """Return the costs with a ledger, `SQLite` or `PostgreSQL`; `network` as in `Costs`."""
    rows = [row for name, row in measured["flight"].items() if name.startswith(ledger)]
    commits = [row["commits_per_second"] / row["per_second"] for row in rows]
    command, commit = line(commits, [row["worker"] / 1000 for row in rows])
    served, server_commit = line(commits, [row["database"] / 1000 for row in rows])
    parts = measured["parts"][ledger]
    at = measured["flight"][f"{ledger}, {AT}"]
    whole = command + commit * at["commits_per_second"] / at["per_second"]
    call = whole * _share(parts, CALL)
    in_ledger = whole * _share(parts, DATABASE, DECIDING, ROWS)
    changes = max(0.0, in_ledger - (whole - command))
    broker = measured["broker"]
    return Costs(
        call=call,
        loop=command - call - changes,
        change=changes / CHANGES,
        commit=commit,
        server_change=served / CHANGES,
        server_commit=server_commit,
        sync=broker["sync"],
        network=network,
        broker=at["broker"] / 1000,
        queue=1 / broker["takes"] + 1 / broker["gives"],
        provider=at["provider"] / 1000,
    )


def line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Return where the line through the points meets 0 and how steep it is, by least squares; neither is negative."""
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((one - middle_x) ** 2 for one in x)
    steep = sum((one - middle_x) * (other - middle_y) for one, other in zip(x, y, strict=True)) / spread
    steep = min(max(0.0, steep), middle_y / middle_x)
    return middle_y - steep * middle_x, steep


def _share(parts: dict[str, float], *names: str) -> float:
    return sum(parts[name] for name in names) / sum(parts.values())
