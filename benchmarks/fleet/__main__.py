"""Simulate and show: `python -m benchmarks.fleet --help`."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from benchmarks.fleet.costs import costs_of, read
from benchmarks.fleet.model import Fleet
from benchmarks.fleet.plan import Costs, Plan
from benchmarks.scaling import DOCUMENT, NEVER_MET
from benchmarks.throughput import percentile
from bridge.domain.rules import LimitRules
from tests.harness.documents import markdown
from tests.harness.documents import write as write_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: A transaction's statements, and seconds that each is on a network, there and back: assumed, not measured.
STATEMENTS, TRIP = 8, 0.000_25
#: The share of its maximum rate at which a fleet's waits are shown.
EASY = 0.7
#: Workers, shards, and calls at once in each.
FLEETS = (
    *((workers, 1, 16) for workers in (1, 10, 100, 1000)),
    (10, 4, 16), (100, 4, 16), (100, 16, 16), (1000, 4, 16), (1000, 16, 16),
    (10, 1, 64), (100, 1, 64), (100, 4, 64), (100, 16, 64),
)  # fmt: skip
#: The example of docs/internals/scaling.md: the busiest minutes, without limits and with limits that are just not met.
EXAMPLE = Plan(workers=3, in_flight=64, offered=600.0)
EXAMPLE_LIMITS = LimitRules(account_per_second=700.0)
#: The cores of the machine that the bench ran on, for the comparison with it.
BENCH_CORES = 2
LIMITED = ((1, 1), (10, 1), (100, 1), (1000, 1), (1000, 16))
#: Where each cost is from.
SOURCES = {
    "call": "`parts`, of the worker's cost in `flight` with 64 in flight",
    "loop": "`flight`: the part that does not grow with the commits, without the other two",
    "change": "`parts`: the ledger's, without the part that grows with the commits",
    "commit": "`flight`: the part that grows with the commits",
    "server_change": "`flight`: PostgreSQL's cost that does not grow with the commits",
    "server_commit": "`flight`: PostgreSQL's cost that does",
    "sync": "`broker`",
    "network": f"assumed: {STATEMENTS} statements of {TRIP * 1000:g} ms",
    "broker": "`flight`, with 64 in flight",
    "queue": "`broker`: taken and given",
    "provider": "`flight`: the stand-in's, in the comparison with the bench alone",
}


def costs_table(measured: dict[str, Any]) -> str:
    """Return the costs that the simulation uses."""
    sqlite, postgresql = (asdict(_costs(measured, name)) for name in ("SQLite", "PostgreSQL"))
    rows = [
        [name, f"{sqlite[name] * 1e6:.0f}", f"{postgresql[name] * 1e6:.0f}", source]
        for name, source in SOURCES.items()
    ]
    return markdown(("cost", "SQLite: µs", "PostgreSQL: µs", "from"), rows)


def checked(measured: dict[str, Any]) -> str:
    """Return the measured rates beside the simulated ones."""
    rows = []
    for name, row in measured["workers"].items():
        ledger, *limited, workers = name.split(", ")
        plan = Plan(
            workers=int(workers),
            in_flight=64,
            sqlite=ledger == "SQLite",
            limits=LimitRules(account_per_second=NEVER_MET if limited else 0.0),
            latency=0.0,
            shared_cores=BENCH_CORES,
            others=row["others"],
        )
        got = Fleet(plan, costs_of(measured, ledger, network=0.0)).run()
        rows.append(
            [
                name,
                f"{row['per_second']:.0f}",
                f"{got.per_second:.0f}",
                f"{got.per_second / row['per_second'] - 1:+.0%}",
                f"{row['changes_per_commit']:.0f}",
                f"{got.changes_per_commit:.0f}",
            ]
        )
    head = (
        "ledger, workers", "SMS/s, measured", "simulated", "error",
        "changes per commit, measured", "simulated",
    )  # fmt: skip
    return markdown(head, rows)


def fleets(measured: dict[str, Any]) -> str:
    """Return the rates of many workers on PostgreSQL."""
    costs = _costs(measured, "PostgreSQL")
    rows = []
    for workers, shards, in_flight in FLEETS:
        plan = Plan(
            workers=workers, shards=shards, in_flight=in_flight, commands=_enough(workers * in_flight)
        )
        most = Fleet(plan, costs).run()
        easy = Fleet(replace(plan, offered=EASY * most.per_second), costs).run()
        ideal = workers * in_flight / (plan.latency * math.exp(plan.spread**2 / 2))
        rows.append(
            [
                f"{workers:,}", str(shards), str(in_flight), f"{most.per_second:,.0f}",
                f"{most.per_second / ideal:.0%}", f"{most.ledger:.0%}", f"{most.queue:.0%}",
                f"{most.broker:.0%}", f"{most.worker:.0%}", f"{most.changes_per_commit:.1f}", *_waits(easy.waits),
            ]
        )  # fmt: skip
    head = (
        "workers", "shards", "in flight", "SMS/s", "of the ideal", "ledger busy", "queue busy", "RabbitMQ busy",
        "worker busy", "changes per commit", f"p50 ms at {EASY:.0%}", f"p99 ms at {EASY:.0%}",
    )  # fmt: skip
    return markdown(head, rows)


def limits(measured: dict[str, Any]) -> str:
    """Return the cost of an account limit that is never met: all commits update it."""
    costs = _costs(measured, "PostgreSQL")
    rows = []
    for workers, shards in LIMITED:
        free = Plan(workers=workers, shards=shards, commands=_enough(workers * 16))
        limited = replace(free, limits=LimitRules(account_per_second=NEVER_MET))
        without, with_ = Fleet(free, costs).run(), Fleet(limited, costs).run()
        rows.append(
            [
                f"{workers:,}", str(shards), f"{without.per_second:,.0f}", f"{with_.per_second:,.0f}",
                f"{with_.lock:.0%}", f"{with_.commits_per_second / shards:,.0f}", f"{with_.changes_per_commit:.1f}",
            ]
        )  # fmt: skip
    head = (
        "workers", "shards", "SMS/s without limits", "SMS/s with limits", "the limit's lock held",
        "commits/s of each ledger", "changes per commit",
    )  # fmt: skip
    return markdown(head, rows)


def example(measured: dict[str, Any]) -> str:
    """Return the figures of the page's example."""
    rows = []
    for name, rules in (("none", LimitRules()), ("700 a second for the account", EXAMPLE_LIMITS)):
        plan = replace(EXAMPLE, limits=rules)
        got = Fleet(plan, _costs(measured, "PostgreSQL")).run()
        cores = (got.worker * plan.workers, got.ledger * plan.ledger_cores, got.broker * plan.broker_cores)
        rows.append(
            [
                name, f"{got.per_second:.0f}", *(f"{busy:.2f}" for busy in cores),
                f"{got.commits_per_second:.0f}", f"{got.lock:.0%}", *_waits(got.waits),
            ]
        )  # fmt: skip
    head = (
        "limits", "SMS/s", "workers: cores", "PostgreSQL: cores", "RabbitMQ: cores", "commits/s",
        "a limit's lock held", "p50 ms", "p99 ms",
    )  # fmt: skip
    return markdown(head, rows)


PARTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "costs": costs_table,
    "checked": checked,
    "fleets": fleets,
    "limits": limits,
    "example": example,
}


def tables(measured: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each table with its name."""
    for name, simulated in PARTS.items():
        yield name, simulated(measured)


def _costs(measured: dict[str, Any], ledger: str) -> Costs:
    return costs_of(measured, ledger, network=0.0 if ledger == "SQLite" else STATEMENTS * TRIP)


def _enough(at_once: int) -> int:
    """Return how many commands it takes until a fleet with so many calls at once has settled down."""
    return max(10_000, 5 * at_once)


def _waits(waits: list[float]) -> list[str]:
    return [f"{percentile(waits, share) * 1000:.0f}" for share in (0.5, 0.99)]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--write/--no-write", default=False, help="Write the tables to docs/internals/scaling.md.")
def main(*, write: bool) -> None:
    """Simulate fleets of workers with the costs in benchmarks/measured.json; takes half a minute."""
    for name, shown in tables(read()):
        Console().print(shown, markup=False, soft_wrap=True)
        if write:
            write_document(DOCUMENT, name, shown)


if __name__ == "__main__":
    main()
