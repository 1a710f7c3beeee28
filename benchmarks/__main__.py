"""The command line of the benchmarks: `python -m benchmarks --help`. `make bench` runs all and writes the tables."""

from __future__ import annotations

import statistics
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import click
from rich.console import Console
from rich.progress import Progress

from benchmarks import report, scaling, throughput, webhooks
from benchmarks.contestants import BRIDGE, SENDERS
from benchmarks.field import Field
from benchmarks.scaling import Scaling
from benchmarks.throughput import Setting, percentile
from tests.harness.documents import markdown
from tests.harness.documents import write as write_document

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

#: Commands of a backlog, enough for several seconds.
SETTINGS = (
    Setting(latency=0.0, in_flight=16, commands=3000),
    Setting(latency=0.0, in_flight=64, commands=3000),
    Setting(latency=0.0, in_flight=64, processes=2, commands=3000),
    Setting(latency=0.0, in_flight=256, commands=3000),
    Setting(latency=0.15, in_flight=128, commands=4000),
    Setting(latency=0.15, in_flight=256, commands=6000),
)
NOTIFICATIONS = 6000
#: Notifications a second that all can take.
OFFERED = 200.0
IDLE = 300
#: Tables of docs/internals/scaling.md.
SCALING = ("queue", "flight", "size", "workers", "ledger", "broker")


class Bench:
    """Runs all measurements, each round with every contestant in turn."""

    def __init__(self, field: Field, runs: int, progress: Progress) -> None:
        self._field = field
        self._runs = runs
        self._progress = progress

    def sending(self) -> str:
        """Measure sending; returns the table."""
        rows = []
        for setting in SETTINGS:
            # One thread has no more in flight than one.
            who = SENDERS if not setting.latency and setting.in_flight == 16 else SENDERS[:-1]
            costs = self._iterations(
                f"sending, {setting.name}",
                {one.name: partial(throughput.measure, self._field, one, setting) for one in who},
            )
            ours = costs[BRIDGE.name]
            if setting.in_flight == 64 and setting.processes == 1:
                bars = {name: statistics.median(c.processor for c in got) for name, got in costs.items()}
                report.PICTURE.write_text(
                    report.draw("Processor seconds for 1,000 SMS, 64 in flight", bars, "s")
                )
            for name, got in costs.items():
                rows.append(
                    [
                        setting.name,
                        name,
                        f"{statistics.median(c.per_second for c in got):.0f}",
                        ""
                        if not setting.latency
                        else f"{statistics.median(c.per_second for c in got) / setting.ideal:.0%}",
                        f"{statistics.median(c.processor for c in got):.2f}",
                        f"{statistics.median(c.memory for c in got):.0f}",
                        f"{report.ratios([c.per_second for c in ours], [c.per_second for c in got]):.2f}",
                        f"{report.ratios([c.processor for c in got], [c.processor for c in ours]):.2f}",
                    ]
                )
        head = (
            "setting", "program", "SMS/s", "of the ideal", "CPU s per 1,000", "MB",
            "SMS/s: bridge / this", "SMS per CPU second: bridge / this",
        )  # fmt: skip
        return markdown(head, rows)

    def webhooks(self) -> str:
        """Measure webhooks; returns the table."""
        costs = self._iterations(
            "webhooks",
            {who.name: partial(webhooks.measure, self._field, who, NOTIFICATIONS) for who in webhooks.TAKERS},
        )
        waits = self._iterations(
            f"webhooks, {OFFERED:.0f} a second",
            {
                who.name: partial(webhooks.latency, self._field, who, NOTIFICATIONS // 3, OFFERED)
                for who in webhooks.TAKERS
            },
        )
        ours = costs[webhooks.BRIDGE.name]
        rows = [
            [
                name,
                f"{statistics.median(c.per_second for c in got):.0f}",
                f"{statistics.median(c.processor for c in got):.2f}",
                f"{statistics.median(c.memory for c in got):.0f}",
                f"{report.ratios([c.processor for c in got], [c.processor for c in ours]):.2f}",
                f"{statistics.median(percentile(w, 0.5) for w in waits[name]) * 1000:.1f}",
                f"{statistics.median(percentile(w, 0.99) for w in waits[name]) * 1000:.1f}",
            ]
            for name, got in costs.items()
        ]
        head = (
            "program", "requests/s", "CPU s per 1,000", "MB", "requests per CPU second: bridge / this",
            f"p50 ms at {OFFERED:.0f}/s", f"p99 ms at {OFFERED:.0f}/s",
        )  # fmt: skip
        return markdown(head, rows)

    def idle(self) -> str:
        """Measure the time from a command to its call on an idle bridge; returns the table."""
        taken = self._iterations(
            "idle", {BRIDGE.name: lambda: throughput.idle_latency(self._field, BRIDGE, IDLE)}
        )[BRIDGE.name]
        rows = [
            [
                "command published to call at the provider",
                *(
                    f"{statistics.median(percentile(t, share) for t in taken) * 1000:.1f}"
                    for share in (0.5, 0.99)
                ),
            ]
        ]
        return markdown(("measurement", "p50 ms", "p99 ms"), rows)

    def _iterations(self, what: str, contestants: dict[str, Callable[[], T]]) -> dict[str, list[T]]:
        task = self._progress.add_task(what, total=self._runs * len(contestants))
        got: dict[str, list[T]] = defaultdict(list)
        for _ in range(self._runs):
            for name, run in contestants.items():
                got[name].append(run())
                self._progress.advance(task)
        return got


def _compare(name: str, runs: int, progress: Progress) -> tuple[Path, str]:
    with Field() as field:
        return report.DOCUMENT, getattr(Bench(field, runs, progress), name)()


def _scale(name: str, runs: int, progress: Progress) -> tuple[Path, str]:
    return scaling.DOCUMENT, getattr(Scaling(runs, progress), name)()


#: By the name of its table, how each is measured.
PARTS = {
    **dict.fromkeys(("sending", "webhooks", "idle"), _compare),
    **dict.fromkeys(SCALING, _scale),
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--runs", default=5, show_default=True, help="Runs of each, of which the medians count.")
@click.option(
    "--only",
    type=click.Choice([*PARTS, "scaling"]),
    multiple=True,
    help=f"Leave out the others; `scaling` is {', '.join(SCALING)}.",
)
@click.option("--write/--no-write", default=False, help="Write the tables to docs/internals.")
def main(*, runs: int, only: tuple[str, ...], write: bool) -> None:
    """Measure the bridge beside its peers, and how it grows, and show it as tables."""
    console = Console()
    names = [name for one in only or PARTS for name in (SCALING if one == "scaling" else (one,))]
    with Progress(console=Console(stderr=True)) as progress:
        for name in names:
            document, measured = PARTS[name](name, runs, progress)
            console.print(measured, markup=False, soft_wrap=True)
            if write:
                write_document(document, name, measured)


if __name__ == "__main__":
    main()
