"""The figures of turns as tables, and as the input of the simulation of many workers."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.load import Cost, figures, median
from benchmarks.report import ratios
from tests.harness.documents import markdown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: The medians that were measured last.
MEASURED = Path(__file__).with_name("measured.json")

#: Parts of a worker that the simulation uses too.
CALL = "the call: requests, TLS aside, and its thread"
DATABASE = "ledger: the database and its driver"
DECIDING = "ledger: deciding"
ROWS = "ledger: rows and statements"

#: By the name of a row.
Costs = dict[str, list[Cost]]
#: Column, figure and how it is written.
Columns = tuple[tuple[str, str, str], ...]
WORKER: Columns = (
    ("SMS/s", "per_second", ".0f"),
    ("CPU s per 1,000", "worker", ".2f"),
    ("MB", "memory", ".0f"),
)
OTHERS: Columns = (("processors used by others", "others", ".1f"),)
BROKER: Columns = (("RabbitMQ: CPU s per 1,000", "broker", ".2f"),)
LEDGER: Columns = (
    ("PostgreSQL: CPU s per 1,000", "database", ".2f"),
    ("commits/s", "commits_per_second", ".0f"),
    ("changes per commit", "changes_per_commit", ".1f"),
    ("ms per commit", "commit", ".1f"),
)


def table(what: str, costs: Costs, columns: Columns) -> str:
    """Return the medians as a table."""
    return markdown(
        (what, *_names(columns)), [[name, *_medians(got, columns)] for name, got in costs.items()]
    )


def compared(what: str, costs: Costs, columns: Columns, beside: str) -> str:
    """Return the table with the medians of the ratios to the row `beside`, turn by turn, for all behind it."""
    head = (what, *_names(columns), "SMS/s: ratio", "SMS per CPU second: ratio", "MB: ratio")
    rows, first = [], None
    for name, got in costs.items():
        row = [name, *_medians(got, columns)]
        first = got if name == beside else first
        rows.append(row + (["", "", ""] if first is None else _ratios(got, first)))
    return markdown(head, rows)


def _ratios(got: Sequence[Cost], first: Sequence[Cost]) -> list[str]:
    pairs = (
        ratios(figures(got, "per_second"), figures(first, "per_second")),
        ratios(figures(first, "worker"), figures(got, "worker")),
        ratios(figures(got, "memory"), figures(first, "memory")),
    )
    return [f"{pair:.2f}" for pair in pairs]


def _names(columns: Columns) -> list[str]:
    return [name for name, _, _ in columns]


def _medians(costs: Sequence[Cost], columns: Columns) -> list[str]:
    return [_written(costs, figure, form) for _, figure, form in columns]


def _written(costs: Sequence[Cost], figure: str, form: str) -> str:
    value = median(costs, figure)
    if figure == "database" and not value:
        return ""
    return format(value * 1000 if figure == "commit" else value, form)


def keep(name: str, measured: Mapping[str, object]) -> None:
    """Put figures among those that were measured before."""
    kept = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
    MEASURED.write_text(json.dumps({**kept, name: measured}, indent=1, sort_keys=True) + "\n")


def medians(costs: Costs) -> dict[str, dict[str, float]]:
    """Return all the medians, to be kept."""
    return {name: {figure: median(got, figure) for figure in asdict(got[0])} for name, got in costs.items()}
