"""The stack of a fault scenario: a real broker, the simulator in this process, a ledger, and workers."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
from collections import Counter
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from sqlalchemy import NullPool, create_engine, text

from bridge.ops.failpoints import VARIABLE
from bridge.simulator import Simulator
from bridge.simulator.settings import SimulatorSettings
from tests.acceptance.conftest import Provider, environment
from tests.faults.replays import LedgerRow, SubmissionId
from tests.harness.broker_client import COLLECTOR, BrokerClient, Message
from tests.harness.processes import BridgeProcess

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from tests.faults.report import Report
    from tests.harness.broker import Broker

#: Calls that a worker makes at once.
CONCURRENCY = 8
#: Which rows of the ledger a worker works on.
IN_FLIGHT = "owner IS NOT NULL AND state IN ('attempting', 'in_doubt')"
OPEN = "state IN ('waiting', 'attempting', 'in_doubt')"
#: Factor of all deadlines: the wait for a bridge that was broken on purpose is shorter.
TIMEOUT = float(os.environ.get("FAULTS_PATIENCE", "1"))
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


class Stack:
    """The services of a scenario, and the workers that it starts, kills and stops. Times are in seconds."""

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
        #: Whether something happened after which events may be published again.
        self.crashed = False
        #: Whether the ledger lost its last commits.
        self.restored = False
        self.commands: dict[str, str] = {}
        #: Ids of events that belong to no command of the scenario.
        self.others: set[str | None] = set()
        #: Texts that others send for the same account.
        self.unknown_clients: set[str] = set()
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

    def replays(self) -> dict[SubmissionId, LedgerRow]:
        """Return what the ledger says of each submission."""
        found = self._asked("SELECT command_id, position, state, replay, event_id FROM submissions")
        return {
            SubmissionId(command_id, index): LedgerRow(
                state=state, replay_number=replay_number, event_id=event_id
            )
            for command_id, index, state, replay_number, event_id in found
        }

    def _asked(self, query: str) -> list[Any]:
        engine = create_engine(self.ledger, poolclass=NullPool)
        with contextlib.closing(engine.connect()) as connection:
            return list(connection.execute(text(query)))

    @property
    def accepted(self) -> int:
        """How many sends the provider took so far."""
        return int(self.provider.stats()["accepted"])

    def _measure(self, worker: BridgeProcess) -> None:
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{worker.pid}/status").read_text()
            peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            self.rss = max(self.rss, int(peak.split()[1]) / 1024)


def _armed(failpoint: str) -> dict[str, str]:
    if not failpoint:
        return {}
    return {VARIABLE: failpoint if ":" in failpoint else f"{failpoint}:kill9"}


def is_frozen(worker: BridgeProcess) -> bool:
    """Whether a failpoint has stopped it."""
    return "State:\tT" in Path(f"/proc/{worker.pid}/status").read_text()
