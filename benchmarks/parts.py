"""The costs of a worker by part: `python -m benchmarks.parts PROGRAM`, where PROGRAM is py-spy.

The kernel reports the processor time of each thread (proc(5)). py-spy samples the work of a thread, also where it runs
without the interpreter's lock, as within SQLite.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections import Counter, defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import Progress

from benchmarks import machine
from benchmarks.field import Field
from benchmarks.load import Load
from benchmarks.scaling import DOCUMENT, postgres_server
from benchmarks.stand import stands
from benchmarks.tables import CALL, DATABASE, DECIDING, ROWS, keep
from tests.harness.documents import markdown
from tests.harness.documents import write as write_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.stand import Stand

#: Seconds that are sampled, samples in each, and commands that outlast them.
SECONDS, RATE, COMMANDS = 8, 100, 40_000
#: By what is somewhere in a stack, thread first: the first that is found says which part it is.
PARTS = (
    ("log lines", ("structlog", "ops/logs.py")),
    (CALL, ("provider-call-",)),
    (DATABASE, ("do_execute", "do_commit", "_begin_immediate", "psycopg")),
    (DECIDING, ("changing.py",)),
    (ROWS, ("adapters/store",)),
    ("AMQP: commands in, acknowledgements out", (" consumes",)),
    ("AMQP: events out, confirms in", (" publishes", "amqp/publisher.py")),
    ("the loop: reading commands, making events, passing on", ("worker-loop",)),
)
REST = "admin port, metrics, main thread"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("program", type=click.Path(exists=True, dir_okay=False))
@click.option("--runs", default=3, show_default=True, help="Runs of each, of which the sums count.")
@click.option("--write/--no-write", default=False, help="Write the table to docs/internals/scaling.md.")
def main(*, program: str, runs: int, write: bool) -> None:
    """Show what each part of a worker costs, with 64 calls at once, on both ledgers."""
    loads = [Load(name="SQLite"), Load(name="PostgreSQL", postgresql=True)]
    got: dict[str, dict[str, float]] = {load.name: defaultdict(float) for load in loads}
    with (
        postgres_server() as postgres,
        Field() as field,
        stands(field, loads, postgres) as both,
        Progress(console=Console(stderr=True)) as progress,
    ):
        for _ in progress.track(range(runs), description="parts"):
            for stand in both:
                for part, seconds in _sample(stand, program).items():
                    got[stand.load.name][part] += seconds / runs
    keep("parts", got)
    shown = _table(got)
    Console().print(shown, markup=False, soft_wrap=True)
    if write:
        write_document(DOCUMENT, "parts", shown)


def _table(got: Mapping[str, Mapping[str, float]]) -> str:
    head = ["part"]
    for name in got:
        head += [f"{name}: CPU ms per 1,000", "of all"]
    rows = []
    for part in (*(part for part, _ in PARTS), REST):
        row = [part]
        for parts in got.values():
            row += [f"{parts[part] * 1000:.0f}", f"{parts[part] / sum(parts.values()):.0%}"]
        rows.append(row)
    return markdown(head, rows)


def _sample(stand: Stand, program: str) -> dict[str, float]:
    """Return the seconds of processor for each 1,000 commands by part."""
    [pid] = stand.pids
    stand.fill(COMMANDS - stand.pitch.depth("sms.send"))
    with tempfile.NamedTemporaryFile() as file, _working(stand):
        events_before, used = stand.pitch.depth(), machine.threads(pid)
        subprocess.run(
            [program, "record", "--threads", "--nonblocking", "--format", "raw", "--rate", str(RATE),
             "--duration", str(SECONDS), "--output", file.name, "--pid", str(pid)],
            check=True, capture_output=True,
        )  # fmt: skip
        sent = stand.pitch.depth() - events_before
        took = {thread: now - used.get(thread, 0.0) for thread, now in machine.threads(pid).items()}
        samples = _samples(Path(file.name).read_text())
    parts: dict[str, float] = defaultdict(float)
    for thread, seconds in took.items():
        # A thread that was never seen at work has done next to nothing.
        seen = samples.get(thread, Counter({REST: 1}))
        for part, number in seen.items():
            parts[part] += seconds * number / seen.total() / sent * 1000
    return parts


@contextmanager
def _working(stand: Stand) -> Iterator[None]:
    stand.go_on()
    try:
        yield
    finally:
        stand.stand_still()


def _samples(raw: str) -> dict[int, Counter[str]]:
    """Return how often each thread was seen at each part, from lines such as `thread (17): loop;run (a.py:1);... 3`."""
    seen: dict[int, Counter[str]] = defaultdict(Counter)
    for line in raw.splitlines():
        stack, _, number = line.rpartition(" ")
        if stack.startswith("thread ("):
            thread = int(stack[8 : stack.index(")")])
            seen[thread][_part(stack)] += int(number)
    return seen


def _part(stack: str) -> str:
    return next((part for part, marks in PARTS if any(mark in stack for mark in marks)), REST)


if __name__ == "__main__":
    main()
