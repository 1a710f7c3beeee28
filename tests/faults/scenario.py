"""A fault scenario: a real broker, the simulator in this process, workers that are killed and restarted, a verdict.

commands (confirmed) x provider's journal (a text of its own each) x events (bound before the start) x dead letters
x ledger -> a verdict
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import threading
import time
from collections import Counter
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from amqp.exceptions import AMQPError, MessageNacked
from sqlalchemy import NullPool, create_engine, text

from bridge.domain.events import TERMINAL
from bridge.ops.failpoints import VARIABLE
from bridge.simulator import Simulator
from bridge.simulator.settings import SimulatorSettings
from tests.acceptance.conftest import CANARIES, Provider, environment
from tests.faults.lives import LedgerRow, Place
from tests.faults.report import Report, Row
from tests.faults.verdict import Run, Verdict, judge
from tests.harness.broker_client import COLLECTOR, BrokerClient, Message, read_message
from tests.harness.processes import BridgeProcess
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tests.harness.broker import Broker

#: Calls that a worker makes at once.
CONCURRENCY = 8
#: Which rows of the ledger a worker works on.
IN_FLIGHT = "owner IS NOT NULL AND state IN ('attempting', 'doubtful')"
OPEN = "state IN ('waiting', 'attempting', 'doubtful')"
#: What deadlines are multiplied with: a bridge that was broken on purpose is not waited for as long.
PATIENCE = float(os.environ.get("FAULTS_PATIENCE", "1"))
#: How many commands a worker holds, by its metrics: in one line, or in one for each of its processes.
HELD = re.compile(r"^sms_bridge_commands_in_flight(?:\{.*\})? (\S+)$", re.MULTILINE)
#: Everything that takes its time in production, scaled down: a call has 1.5 s, a lease 3, the history 2.5.
SETTINGS = {
    "CPAAS__CONNECT_TIMEOUT": "0.5",
    "CPAAS__READ_TIMEOUT": "0.8",
    "CPAAS__TOTAL_TIMEOUT": "1.5",
    "WORKER__LEASE": "3",
    "WORKER__CONCURRENCY": str(CONCURRENCY),
    "RECONCILE__SETTLE": "2.5",
    "RECONCILE__SKEW": "30",
    "RETRY__IN_PROCESS": "0.5",
    "RETRY__BASE": "0.3",
    "RETRY__MAX_DELAY": "3",
    "BROKER__HEARTBEAT": "2",
    "BROKER__PUBLISH_DEADLINE": "3",
}
#: The provider answers after a moment, so there is always work in flight; what it took shows later than that.
PROVIDER = {"latency": 0.04, "lag": 0.7}
#: Numbers that the commands go to, so that no pair's history grows long.
DESTINATIONS = 50
#: Where what is left for others to read stands.
READ_BY_OTHERS = frozenset({COLLECTOR, "sms.dead", "sms.unrouted"})


class Publisher(Protocol):
    """Publishes commands."""

    def publish(self, body: bytes, /) -> None:
        """Publish a command and wait for the confirm."""
        ...

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        ...


class Scenario:
    """One fault scenario. Times are in seconds."""

    #: The arguments of the queue that events are collected in.
    collector: ClassVar[Mapping[str, object]] = {}

    def __init__(
        self,
        name: str,
        broker: Broker,
        directory: Path,
        report: Report,
        *,
        seed: int = 1,
        provider: Mapping[str, object] | None = None,
        ledger: str | None = None,
        port: int | None = None,
        **settings: str,
    ) -> None:
        """Prepare; `settings` are the bridge's (`WORKER__LEASE` …), `port` a proxy in front of the broker."""
        self.name = name
        self.seed = seed
        self.chance = random.Random(seed)
        self.broker = broker
        self.directory = directory
        self.fired: Counter[str] = Counter()
        #: Whether something happened after which events may be told again.
        self.crashed = False
        #: Whether the ledger lost its last commits.
        self.restored = False
        self.commands: dict[str, str] = {}
        #: Ids of what is told without being a command of ours.
        self.others: set[str | None] = set()
        #: Texts that others send for the same account.
        self.strangers: set[str] = set()
        self.worker: BridgeProcess | None = None
        self.workers: list[BridgeProcess] = []
        self.killed: set[BridgeProcess] = set()
        self.recovery: float | None = None
        self._report = report
        self._numbers = count(1)
        self._operations = count(1)
        self.rss = 0.0
        #: Every event so far.
        self.events: list[Message] = []
        self._queues: list[str] = []
        self._threads: list[threading.Thread] = []
        self._failed: list[Exception] = []
        self._simulator = Simulator(SimulatorSettings.model_validate(PROVIDER | dict(provider or {})))
        broker.thaw()
        if not broker.running:
            broker.start()
        self.vhost = broker.new_vhost()
        self.amqp = BrokerClient(broker.url(self.vhost))
        self.ledger = ledger or f"sqlite:///{directory}/ledger.sqlite3"
        own = {f"BRIDGE_{key}": value for key, value in (SETTINGS | settings).items()}
        own["BRIDGE_LEDGER__URL"] = self.ledger
        self._env = (broker.url(self.vhost, port), own)

    def __enter__(self) -> Self:
        """Start the provider and bind the collector, before anything happens."""
        self._simulator.start()
        self.provider = Provider(self._simulator)
        self.amqp.collect(arguments=self.collector)
        return self

    def __exit__(self, *_: object) -> None:
        """End everything."""
        for thread in self._threads:
            thread.join(60)
        for worker in self.workers:
            if worker not in self.killed:
                worker.kill()
        self.amqp.close()
        self._simulator.stop()

    # -- the bridge ----------------------------------------------------------------------------------------------

    @property
    def env(self) -> dict[str, str]:
        """The configuration of a worker."""
        url, own = self._env
        return environment(url, self.provider.url, self.directory) | own

    def start(
        self,
        *,
        failpoint: str = "",
        ready: bool = True,
        env: Mapping[str, str] | None = None,
        **settings: str,
    ) -> BridgeProcess:
        """Start a worker; `failpoint` is ``place`` or ``place:action`` or ``place:action:n``.

        `env` is what is no setting of ours.
        """
        own = {f"BRIDGE_{key}": value for key, value in settings.items()}
        env = self.env | own | _armed(failpoint) | dict(env or {})
        worker = BridgeProcess(self.directory / f"worker-{len(self.workers)}", "worker", env=env)
        self.worker = worker
        self.workers.append(worker)
        if ready:
            worker.wait_ready()
        return worker

    def declare(self) -> None:
        """Have a worker declare what it needs on the broker, and be gone."""
        worker = self.start(BROKER__DECLARE="true")
        self.end(worker)

    def end(self, worker: BridgeProcess) -> int:
        """Stop a worker in order; returns its exit code."""
        code = worker.stop(signal.SIGTERM)
        self.killed.add(worker)
        worker.kill()
        return code

    def kill(self, worker: BridgeProcess | None = None) -> int:
        """Kill a worker with SIGKILL; returns how many submissions it had in flight by the ledger."""
        worker = worker or self.running
        self._measure(worker)
        self.killed.add(worker)
        self.crashed = True
        worker.kill()
        return self.rows(IN_FLIGHT)

    def operate(self, *arguments: str, failpoint: str = "") -> tuple[int, str]:
        """Run `bridge` with `arguments` to its end; returns its exit code and what it printed."""
        directory = self.directory / f"operator-{next(self._operations)}"
        operator = BridgeProcess(directory, *arguments, env=self.env | _armed(failpoint))
        try:
            return operator.wait(60), operator.stdout
        finally:
            operator.kill()

    def died(self, within: float = 20) -> None:
        """Wait until the failpoint of the running worker has ended it."""
        code = self.running.wait(within)

        assert code == -signal.SIGKILL
        self.running.kill()
        self.killed.add(self.running)
        self.crashed = True
        self.fired["crashes"] += 1

    @property
    def running(self) -> BridgeProcess:
        """The worker that was started last."""
        assert self.worker is not None
        return self.worker

    def rows(self, where: str) -> int:
        """Count the submissions in the ledger."""
        return int(self._asked(f"SELECT count(*) FROM submissions WHERE {where}")[0][0])  # noqa: S608 - the tests' words

    def open_rows(self) -> int:
        """Count the submissions without an outcome; a restored ledger has lost some that were published."""
        if not self.restored:
            return self.rows(OPEN)
        found = self._asked(f"SELECT command_id FROM submissions WHERE {OPEN}")  # noqa: S608 - the tests' words
        return len({row[0] for row in found} - self.told().keys())

    def lives(self) -> dict[Place, LedgerRow]:
        """Return what the ledger says of each submission."""
        found = self._asked("SELECT command_id, position, state, replay, event_id FROM submissions")
        return {
            Place(command_id, index): LedgerRow(state=state, life=life, event_id=event_id)
            for command_id, index, state, life, event_id in found
        }

    def _asked(self, query: str) -> list[Any]:
        engine = create_engine(self.ledger, poolclass=NullPool)
        with contextlib.closing(engine.connect()) as connection:
            return list(connection.execute(text(query)))

    def resumes(self, within: float = 20) -> None:
        """Wait until the provider takes the next send, and note how long that was."""
        began, before = time.monotonic(), self.accepted
        wait_until(lambda: self.accepted > before, within, what="sends go on")
        self.recovery = max(self.recovery or 0.0, time.monotonic() - began)

    @property
    def accepted(self) -> int:
        """How many sends the provider took so far."""
        return int(self.provider.stats()["accepted"])

    # -- commands ------------------------------------------------------------------------------------------------

    def command(
        self, fault: Mapping[str, object] | None = None, more: str = "", /, **fields: object
    ) -> tuple[str, bytes]:
        """Make a command with a text of its own, and `more`; the provider will have `fault` for it.

        Returns id and body.
        """
        number = next(self._numbers)
        command_id, own_text = f"c{number:05}", f"canary <t{number:05}>{more}"
        body: dict[str, object] = {
            "id": command_id,
            "destination_address": f"+1613555{number % DESTINATIONS:04}",
            "message": own_text,
            **fields,
        }
        if fault is not None:
            self.provider.faults({**fault, "text": f"<t{number:05}>"})
        self.commands[command_id] = own_text
        return command_id, json.dumps(body).encode()

    def send(
        self, number: int = 1, fault: Mapping[str, object] | None = None, more: str = "", **fields: object
    ) -> list[str]:
        """Publish so many commands, each confirmed, and return their ids."""
        made = [self.command(fault, more, **fields) for _ in range(number)]
        self.publish([body for _, body in made])
        return [command_id for command_id, _ in made]

    def publish(self, bodies: Iterable[bytes]) -> None:
        """Publish, each confirmed."""
        self._publish(list(bodies), self.amqp)

    def send_meanwhile(self, bodies: Iterable[bytes]) -> None:
        """Publish on a thread of its own; what fails is published again until it is confirmed."""
        made = list(bodies)

        def publish() -> None:
            with BrokerClient(self.amqp.url) as peer:
                self._publish(made, peer)

        self.meanwhile(publish)

    def meanwhile(self, work: Callable[[], None]) -> None:
        """Do something on a thread of its own; `finish` waits for it and fails where it failed."""

        def run() -> None:
            try:
                work()
            except Exception as e:  # noqa: BLE001 - told by `finish`, on the test's own thread
                self._failed.append(e)

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _publish(self, bodies: list[bytes], peer: Publisher) -> None:
        pause = threading.Event()
        for body in bodies:
            for _ in range(400):
                try:
                    peer.publish(body)
                    break
                except (AMQPError, MessageNacked, OSError):
                    # It may be stored all the same: then there are two of it, which are one command.
                    peer.close()
                    pause.wait(0.1)
            else:
                raise AssertionError("a command could not be published")

    # -- what came of them ---------------------------------------------------------------------------------------

    def told(self) -> dict[str, str]:
        """Return the last word of the outcome's type for each command that has one."""
        self._drain()
        return {
            str(message.json.get("subject")): message.routing_key.rpartition(".")[2]
            for message in self.events
            if message.routing_key in TERMINAL
        }

    def events_of(self, command_id: str) -> list[Message]:
        """Return the events of a command so far, in order."""
        self._drain()
        return [message for message in self.events if message.json.get("subject") == command_id]

    def wait_told(self, ids: Iterable[str] | None = None, within: float = 60) -> dict[str, str]:
        """Wait until all commands, or those with `ids`, have an outcome."""
        missing: set[str] = set()

        def all_told() -> bool:
            nonlocal missing
            missing = set(self.commands if ids is None else ids) - self.told().keys()
            return not missing

        try:
            wait_until(all_told, within * PATIENCE, every=0.1, what="outcomes")
        except AssertionError:
            shown = {id_: [m.routing_key for m in self.events_of(id_)] for id_ in sorted(missing)[:3]}
            raise AssertionError(
                f"{len(missing)} commands have no outcome in {within} s, as {shown}"
            ) from None
        return self.told()

    def _drain(self) -> None:
        with contextlib.suppress(AMQPError, OSError), self.amqp.channel() as channel:
            while (message := channel.basic_get(COLLECTOR)) is not None:
                channel.basic_ack(message.delivery_tag)
                self.events.append(read_message(message))

    def finish(self, *, within: float = 60) -> Verdict:
        """Wait until all is told and quiet; note the row of the report, and return what is to be said of it."""
        for thread in self._threads:
            thread.join(within)
        assert not self._failed, self._failed
        try:
            self.wait_told(within=within)
            wait_until(self.is_quiet, 40 * PATIENCE, every=0.3, what="quiet")
        except AssertionError as late:
            # Judged all the same: what is missing is a violation, and its row says so.
            print(late)
            print(self._state())
        verdict = self.judged()
        self.note(verdict)
        return verdict

    def judged(self) -> Verdict:
        """Judge all that is left of the run so far."""
        return judge(self.left())

    def note(self, verdict: Verdict) -> None:
        """Put the scenario's row into the report."""
        self._report.note(
            Row(
                scenario=self.name,
                seed=self.seed,
                fired=self.fired,
                commands=len(self.commands),
                verdict=verdict,
                recovery=self.recovery,
                rss=self.rss,
            )
        )

    def kept(self, *, within: float = 60) -> Verdict:
        """As `finish`; fails where a promise was broken or no fault fired."""
        verdict = self.finish(within=within)

        assert verdict.violations == ()
        assert self.fired, "no fault fired"
        assert all(self.fired.values()), self.fired
        return verdict

    def letters(self) -> list[Message]:
        """Take every dead letter off its queue."""
        taken: list[Message] = []
        with contextlib.suppress(AMQPError, OSError):
            while (letter := self.amqp.get("sms.dead")) is not None:
                taken.append(letter)
        return taken

    def put_letter(self, letter: Message) -> None:
        """Put a dead letter on its queue, as it was."""
        properties = {key: value for key, value in letter.properties.items() if key != "delivery_mode"}
        self.amqp.publish(
            letter.body, exchange="", routing_key="sms.dead", headers=letter.headers, **properties
        )

    def left(self) -> Run:
        """Return all that is left of the run so far; the dead letters are off their queue then."""
        metrics = ""
        for worker in self.workers:
            if worker.returncode is None:
                self._measure(worker)
                metrics += worker.admin("/metrics")[1]
        self._drain()
        said = [line for w in self.workers for line in (w.stdout + w.logs).splitlines()]
        ended = [w.returncode for w in self.workers if w not in self.killed and w.returncode is not None]
        return Run(
            commands=self.commands,
            journal=self.provider.journal(),
            events=self.events,
            dead=self.letters(),
            crashed=self.crashed,
            restored=self.restored,
            queued=self.queued(),
            open_rows=self.open_rows(),
            exits=ended,
            leaks=[line for line in [*said, *metrics.splitlines()] if CANARIES.search(line)],
            others=frozenset(self.others),
            strangers=frozenset(self.strangers),
        )

    def queued(self) -> int:
        """Count what waits on the bridge's queues, the delay's included, and what the workers hold."""
        held = 0
        for worker in self.workers:
            if worker not in self.killed and worker.returncode is None:
                counts = HELD.findall(worker.admin("/metrics")[1])
                # A worker that does not answer may hold anything.
                held += sum(int(float(count)) for count in counts) if counts else 1
        return held + sum(self.amqp.depth(name) for name in self._own_queues())

    def is_quiet(self) -> bool:
        """Whether nothing waits, is held or is open; asked twice, since what is on its way is nowhere."""
        return all(self.queued() == 0 and self.open_rows() == 0 for _ in range(2))

    def _state(self) -> str:
        """Return where what is missing may lie: what the broker and the ledger say of it."""
        of_queues = ("name", "messages_ready", "messages_unacknowledged", "consumers", "state")
        queues = self.broker.ctl("list_queues", "-p", self.vhost, *of_queues)
        consumers = self.broker.ctl("list_consumers", "-p", self.vhost)
        columns = "command_id, position, state, owner, lease_until, retry_at, attempts, crashes"
        rows = self._asked(f"SELECT {columns} FROM submissions WHERE {OPEN}")  # noqa: S608 - the tests' own words
        return "\n".join(
            [queues, consumers, *map(str, rows), *(worker.logs[-3000:] for worker in self.workers[-2:])]
        )

    def _own_queues(self) -> list[str]:
        # By the names alone: the counts that the broker knows of quorum queues are seconds old.
        if not self._queues:
            listed = self.broker.queues(self.vhost)
            self._queues = [name for name in listed if name.startswith("sms") and name not in READ_BY_OTHERS]
        return self._queues

    def _measure(self, worker: BridgeProcess) -> None:
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{worker.pid}/status").read_text()
            peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            self.rss = max(self.rss, int(peak.split()[1]) / 1024)

    def wait(self, condition: Callable[[], Any], within: float = 20, what: str = "") -> Any:
        """Wait for anything."""
        return wait_until(condition, within, every=0.05, what=what)


def _armed(failpoint: str) -> dict[str, str]:
    if not failpoint:
        return {}
    return {VARIABLE: failpoint if ":" in failpoint else f"{failpoint}:kill9"}


def is_frozen(worker: BridgeProcess) -> bool:
    """Whether a failpoint has stopped it."""
    return "State:\tT" in Path(f"/proc/{worker.pid}/status").read_text()
