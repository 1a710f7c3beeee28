"""The growth of a command's cost with queue, text, calls in flight, workers, and size of the ledger."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks import ledgers, machine, report
from benchmarks.field import QUORUM, Field
from benchmarks.load import Load
from benchmarks.stand import SAMPLE, bodies, stands
from benchmarks.tables import BROKER, LEDGER, OTHERS, WORKER, Costs, compared, keep, medians, table
from benchmarks.wire import Wire
from tests.harness.documents import markdown
from tests.harness.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.progress import Progress

    from benchmarks.stand import Stand

DOCUMENT = report.DOCUMENT.with_name("scaling.md")
#: Commands that a turn takes.
COMMANDS = 4_000
MILLION = 1_000_000
#: Characters: what a command of the other benchmarks has, one full SMS, ten parts of a long one.
TEXTS = (32, 160, 1530)
IN_FLIGHT = (16, 64, 256, 1024)
#: Messages through a queue that has no other user.
BARE = 200_000
SYNCS = 300
#: A rate limit that no command waits for; the ledger updates it all the same.
NEVER_MET = 1e6
QUEUES = (
    Load(name="1,000 waiting", waiting=1_000),
    Load(name="1,000,000 waiting", waiting=MILLION),
)


class Scaling:
    """Each method measures one thing that grows and returns the table."""

    def __init__(self, runs: int, progress: Progress) -> None:
        self._runs = runs
        self._progress = progress

    def queue(self) -> str:
        """Measure a worker at the head of a short and of a long queue."""
        with Field() as field, stands(field, QUEUES) as both:
            short, long = both
            alone = self._turns("queue, before there is a long one", [short])
            task = self._progress.add_task("publishing a million commands", total=MILLION)
            long.measure(COMMANDS, lambda more: self._progress.advance(task, more))
            costs = self._turns("queue", both)
        costs = {f"{short.load.name}, no long queue on the broker": alone[short.load.name], **costs}
        columns = (*WORKER, *BROKER, ("RabbitMQ: MB", "broker_memory", ".0f"))
        return compared("commands", costs, columns, short.load.name)

    def flight(self) -> str:
        """Measure with more and more calls at once, on both ledgers."""
        loads = [
            Load(name=f"{_ledger(postgresql)}, {number}", in_flight=number, postgresql=postgresql)
            for number in IN_FLIGHT
            for postgresql in (False, True)
        ]
        with postgres_server() as postgres, Field() as field, stands(field, loads, postgres) as all_:
            costs = self._turns("in flight", all_)
        keep("flight", medians(costs))
        return table("ledger, in flight", costs, (*WORKER, *BROKER, *LEDGER))

    def size(self) -> str:
        """Measure with longer and longer texts."""
        loads = [Load(name=f"{characters:,}", text=characters) for characters in TEXTS]
        with Field() as field, stands(field, loads) as all_:
            costs = self._turns("text", all_)
        return compared("characters", costs, (*WORKER, *BROKER), loads[0].name)

    def workers(self) -> str:
        """Measure one and two workers on one queue and one ledger, on PostgreSQL with a rate limit, too."""
        kinds = ((False, 0.0), (True, 0.0), (True, NEVER_MET))
        loads = [
            Load(
                name=f"{_ledger(postgresql)}{', limit' if limit else ''}, {number}",
                workers=number,
                postgresql=postgresql,
                limit=limit,
            )
            for number in (1, 2)
            for postgresql, limit in kinds
        ]
        with postgres_server() as postgres, Field() as field, stands(field, loads, postgres) as all_:
            costs = self._turns("workers", all_)
        keep("workers", medians(costs))
        return table("ledger, workers", costs, (*WORKER, *BROKER, *LEDGER, *OTHERS))

    def ledger(self) -> str:
        """Measure an empty ledger and one with a million commands."""
        loads = [
            Load(name=f"{_ledger(postgresql)}, {remembered}", postgresql=postgresql)
            for postgresql in (False, True)
            for remembered in ("new", "1,000,000")
        ]
        grown = {}
        with postgres_server() as postgres, Field() as field, stands(field, loads, postgres) as all_:
            for new, full in (all_[:2], all_[2:]):
                grown[new.load.name] = self._grow_by_sending(new, postgres)
                grown[full.load.name] = self._grow_by_copies(full, postgres)
            costs = self._turns("ledger", all_)
        keep("bytes", grown)
        shown = {f"{name} ({grown[name]:,.0f} bytes a command)": got for name, got in costs.items()}
        return table("ledger, commands in it", shown, (*WORKER, *LEDGER))

    def broker(self) -> str:
        """Measure the rate of one queue alone, and the time of a sync of the disk."""
        with Field() as field, field.pitch(0.0) as pitch:
            pitch.channel.queue_declare("bare", durable=True, auto_delete=False, arguments=QUORUM)
            messages = list(bodies(BARE, TEXTS[0]))
            taken, given = [], []
            for _ in range(self._runs):
                with Wire(field.broker.port, pitch.host) as wire:
                    taken.append(_timed(field.broker.pid, lambda: wire.publish("", "bare", messages)))
                with Wire(field.broker.port, pitch.host) as wire:
                    given.append(_timed(field.broker.pid, lambda: wire.drain("bare", BARE)))
        # The best run is the one that other load disturbed least.
        (taken_in, takes), (given_in, gives) = min(taken), min(given)
        sync = _sync_seconds()
        keep("broker", {"takes": BARE / taken_in, "gives": BARE / given_in, "sync": sync})
        rows = [
            ["one quorum queue takes and confirms", f"{BARE / taken_in:,.0f}", f"{takes / BARE * 1000:.3f}"],
            ["the same gives, and is acknowledged", f"{BARE / given_in:,.0f}", f"{gives / BARE * 1000:.3f}"],
            ["4 KiB written and synced, one after the other", f"{1 / sync:,.0f}", ""],
        ]
        return markdown(("measurement", "a second", "RabbitMQ: CPU s per 1,000"), rows)

    def _turns(self, what: str, all_: Sequence[Stand]) -> Costs:
        task = self._progress.add_task(what, total=self._runs * len(all_))
        got: Costs = defaultdict(list)
        for _ in range(self._runs):
            for stand in all_:
                got[stand.load.name].append(stand.measure(COMMANDS))
                self._progress.advance(task)
        return dict(got)

    def _grow_by_sending(self, stand: Stand, postgres: Postgres) -> float:
        """Return the bytes by which a ledger grows for each command that is sent."""
        before = ledgers.size(stand, postgres)
        stand.measure(COMMANDS)
        return (ledgers.size(stand, postgres) - before) / COMMANDS

    def _grow_by_copies(self, stand: Stand, postgres: Postgres) -> float:
        task = self._progress.add_task(f"filling a ledger: {stand.load.name}", total=MILLION)
        before = ledgers.size(stand, postgres)
        ledgers.remember(stand.ledger, SAMPLE, MILLION, lambda more: self._progress.advance(task, more))
        return (ledgers.size(stand, postgres) - before) / MILLION


def _ledger(postgresql: bool) -> str:  # noqa: FBT001 - which of two
    return "PostgreSQL" if postgresql else "SQLite"


def _timed(pid: int, work: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds that `work` takes, and the processor seconds of a process in that time."""
    used, began = machine.processor_seconds(pid), time.monotonic()
    work()
    return time.monotonic() - began, machine.processor_seconds(pid) - used


def _sync_seconds() -> float:
    """Return the seconds until a page that is appended to a file is on the disk."""
    taken = []
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(SYNCS):
            began = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Run a separate PostgreSQL."""
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.stop()
