"""Workers that are measured in turns: those of one stand run, and those of all others are paused.

A stand keeps its queue, its ledger and its processes between measurements. So a queue of a million commands or a
ledger of a million rows is made once, and other load on the machine affects all stands alike.
"""

from __future__ import annotations

import time
import uuid
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING
from urllib.request import urlopen

from benchmarks import machine
from benchmarks.contestants import BRIDGE_PROGRAM, bridge_env, publish_command, run_bridge
from benchmarks.field import HERE, Running
from benchmarks.load import Cost
from benchmarks.wire import Wire
from tests.harness.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.field import Field, Pitch
    from benchmarks.load import Load
    from tests.harness.postgres import Postgres

WARM_UP = 500
#: A command that every stand has sent.
SAMPLE = "sample"
#: Time passes for paused workers too: none of their calls, claims and connections may time out. In seconds.
TIMEOUT = {
    "BRIDGE_BROKER__HEARTBEAT": "3600",
    "BRIDGE_CPAAS__READ_TIMEOUT": "1800",
    "BRIDGE_WORKER__LEASE": "7200",
}
#: Processor seconds in a second below which a server has nothing more to do.
IDLE_SHARE = 0.03


class Stand:
    """A queue, a ledger, and workers that are paused except while they are measured."""

    def __init__(self, field: Field, pitch: Pitch, load: Load, postgres: Postgres | None) -> None:
        self.load = load
        self.pitch = pitch
        self._broker = field.broker
        self._postgres = postgres if load.postgresql else None
        self.ledger = f"sqlite:///{pitch.directory / 'ledger.sqlite3'}"
        if self._postgres is not None:
            self.database = self._postgres.new_database()
            self.ledger = self._postgres.url(self.database)
        self._admin = [free_port() for _ in range(load.workers)]
        self._workers: list[Running] = []
        self._committed = (0.0, 0.0, 0.0)

    def open(self, stack: ExitStack) -> None:
        """Start the workers and warm them up."""
        self.pitch.collect("sms.events")
        env = {
            **bridge_env(self.pitch),
            **TIMEOUT,
            "BRIDGE_LEDGER__URL": self.ledger,
            "BRIDGE_CPAAS__BASE_URL": self.pitch.provider,
            "BRIDGE_CPAAS__CLIENT_ID": "bench",
            "BRIDGE_CPAAS__CLIENT_SECRET": "bench",
            "BRIDGE_WORKER__CONCURRENCY": str(self.load.in_flight),
            "BRIDGE_LIMITS__ACCOUNT_PER_SECOND": str(self.load.limit),
        }
        run_bridge(env, "topology", "declare")
        run_bridge(env, "ledger", "migrate")
        for number, port in enumerate(self._admin):
            directory = self.pitch.directory / str(number)
            directory.mkdir()
            own = {**env, "BRIDGE_ADMIN__PORT": str(port)}
            worker = Running([BRIDGE_PROGRAM, "worker"], own, directory, HERE.parent)
            stack.callback(worker.stop)
            self._workers.append(worker)
        wait_until(self._are_up, 60, what="workers")
        publish_command(self.pitch.channel, SAMPLE)
        self.fill(WARM_UP)
        self.pitch.wait_events(WARM_UP + 1)
        self._committed = self._commits()
        self.stand_still()

    def fill(self, commands: int, done: Callable[[int], None] | None = None) -> None:
        """Put commands on the queue and wait for the broker; `done` gets the number after each step."""
        with Wire(self._broker.port, self.pitch.host) as wire:
            wire.publish("sms.commands", "send", bodies(commands, self.load.text), done)

    def measure(self, commands: int, done: Callable[[int], None] | None = None) -> Cost:
        """Let the workers process that many commands, once the queue is long enough; `done` as for `fill`."""
        self.fill(commands + self.load.waiting - self.pitch.depth("sms.send"), done)
        self._wait_until_idle()
        events_before = self.pitch.depth()
        broker, database, provider = self._servers()
        began, busy, own = time.monotonic(), machine.busy_seconds(), time.process_time()
        self.go_on()
        self.pitch.wait_events(events_before + commands)
        seconds = time.monotonic() - began
        used = sum(worker.cost()[1] for worker in self._workers)
        servers = zip(self._servers(), (broker, database, provider), strict=True)
        broker, database, provider = (after - before for after, before in servers)
        busy = machine.busy_seconds() - busy
        ours = used + broker + database + provider + time.process_time() - own
        memory = sum(machine.memory(worker.pid) for worker in self._workers)
        commits, changes, committing = self._newly_committed()
        self.stand_still()
        return Cost(
            per_second=commands / seconds,
            worker=used / commands * 1000,
            broker=broker / commands * 1000,
            database=database / commands * 1000,
            provider=provider / commands * 1000,
            memory=memory,
            broker_memory=machine.memory(self._broker.pid),
            commits_per_second=commits / seconds,
            changes_per_commit=changes / commits,
            commit=committing / commits,
            others=max(0.0, busy - ours) / seconds,
        )

    @property
    def pids(self) -> list[int]:
        """The workers' processes."""
        return [worker.pid for worker in self._workers]

    def go_on(self) -> None:
        """Have the workers work, and count from now on."""
        for worker in self._workers:
            worker.go_on()

    def stand_still(self) -> None:
        """Pause them: best while they are idle, since a transaction would keep its locks."""
        for worker in self._workers:
            worker.stand_still()

    def _servers(self) -> tuple[float, float, float]:
        """Return the processor seconds of broker, database and stand-in so far."""
        database = 0.0 if self._postgres is None else machine.processor_seconds(self._postgres.pid)
        return (
            machine.processor_seconds(self._broker.pid),
            database,
            machine.processor_seconds(self.pitch.provider_pid),
        )

    def _wait_until_idle(self) -> None:
        """Wait until the broker and the database have finished the work of the last measurement or of a long queue."""

        def is_idle() -> bool:
            before = sum(self._servers())
            time.sleep(0.5)  # noqa: TID251 - it is this time that is measured
            return sum(self._servers()) - before < IDLE_SHARE

        wait_until(is_idle, 120, every=0.01, what="an idle machine")

    def _are_up(self) -> bool:
        try:
            self._commits()
        except OSError:
            return False
        return True

    def _newly_committed(self) -> tuple[float, ...]:
        before, self._committed = self._committed, self._commits()
        return tuple(now - then for now, then in zip(self._committed, before, strict=True))

    def _commits(self) -> tuple[float, float, float]:
        """Return how many commits there were, the changes in them, and their seconds, by the workers' metrics."""
        sums = [0.0, 0.0, 0.0]
        names = ("ledger_commit_changes_count", "ledger_commit_changes_sum", "ledger_commit_seconds_sum")
        for port in self._admin:
            with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                lines = answer.read().decode().splitlines()
            for place, name in enumerate(names):
                sums[place] += sum(float(line.split()[1]) for line in lines if f"_{name} " in line)
        return sums[0], sums[1], sums[2]


@contextmanager
def stands(field: Field, loads: Sequence[Load], postgres: Postgres | None = None) -> Iterator[list[Stand]]:
    """Give each load a separate stand on one broker, as many as the broker creates virtual hosts for at once."""
    with ExitStack() as stack:
        made = []
        for load in loads:
            stand = Stand(field, stack.enter_context(field.pitch(load.latency)), load, postgres)
            stand.open(stack)
            made.append(stand)
        yield made


def bodies(number: int, text: int) -> Iterator[bytes]:
    """Yield commands, each with a unique id and a text of so many characters that begins with it."""
    filler = "x" * max(0, text - 32)
    for _ in range(number):
        name = uuid.uuid4().hex
        yield (
            f'{{"id":"{name}","sender_address":"+16135550100","destination_address":"+16135550123",'
            f'"message":"{(name + filler)[:text]}"}}'
        ).encode()
