"""A fault scenario on a cluster: workers and ingests on three nodes, publishers that turn to the next node, webhooks.

3 publishers -> 3 nodes -> 3 workers -> provider (125 ms, 6 % faults)        webhooks in turn -> 2 ingests
"""

from __future__ import annotations

import itertools
import signal
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tests.acceptance.conftest import CANARIES
from tests.faults.cluster.publisher import RegularPublisher
from tests.faults.cluster.report import ClusterRow, Sums
from tests.faults.scenario import Scenario
from tests.faults.stack import TIMEOUT
from tests.harness.broker_client import LIST
from tests.harness.notification_load import NotificationLoad, spooled
from tests.harness.processes import BridgeProcess
from tests.harness.waiting import free_port, wait_until
from tests.harness.webhook import Webhook, inbound_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from tests.faults.report import Report
    from tests.faults.verdict import Run, Verdict
    from tests.harness.cluster import Cluster

#: As in production but the lease and the time of the history, for which tests can't wait.
SETTINGS = {
    "CPAAS__CONNECT_TIMEOUT": "1",
    "CPAAS__READ_TIMEOUT": "3",
    "CPAAS__TOTAL_TIMEOUT": "4",
    "WORKER__LEASE": "20",
    "RECONCILE__SETTLE": "5",
    # The simulator keeps all messages.
    "RECONCILE__HISTORY_CAP": "0",
    "BROKER__HEARTBEAT": "30",
    "BROKER__PUBLISH_DEADLINE": "10",
}
#: The provider answers after a moment, so there is always work in flight; what it took shows a second later.
PROVIDER = {"latency": 0.125, "lag": 1.0}
#: The provider's faults, and how many of a hundred commands have one.
FAULTS: tuple[Mapping[str, object], ...] = (
    {"name": "accept-drop"},
    {"name": "status", "status": 503, "retry_after": 1},
    {"name": "status", "status": 500},
    {"name": "status", "status": 429},
    {"name": "drop"},
    {"name": "accept-hang"},
)
FAULTY = 6
#: How many of a hundred commands are for later, and for how much later, in seconds.
SCHEDULED = 8
LATER = (4.0, 25.0)
WORKERS, INGESTS, PUBLISHERS = 3, 2, 3
#: Webhooks a second.
WEBHOOKS = 8.0


class ClusterScenario(Scenario):
    """One scenario's world on a cluster. Times are in seconds."""

    #: Events are collected where a node's death does not reach them.
    collector: ClassVar[Mapping[str, object]] = {"x-queue-type": "quorum"}

    def __init__(
        self, name: str, cluster: Cluster, directory: Path, report: Report, *, ledger: str, **settings: str
    ) -> None:
        """Prepare; `settings` are the bridge's."""
        own: dict[str, Any] = {**SETTINGS, **settings, "ledger": ledger, "provider": PROVIDER}
        # A cluster has all of a broker that a scenario needs.
        super().__init__(name, cluster, directory, report, **own)  # type: ignore[arg-type]
        self.cluster = cluster
        self.crashed = True
        #: The ingests, and the port of each one's webhook.
        self.ingests: dict[int, BridgeProcess] = {}
        #: The messages of webhooks that were answered 2xx, besides those of `load`.
        self.posted: set[str] = set()
        #: The longest time under load in which the provider took no send.
        self.standstill = 0.0
        #: When each command was first published, in seconds since the epoch, but those for later.
        self._published: dict[str, float] = {}
        self._bodies: dict[str, bytes] = {}
        self._webhooks: NotificationLoad | None = None
        self._began = self._ended = 0.0
        self._over = threading.Event()

    def __exit__(self, *details: object) -> None:
        """End everything; the cluster is left as the faults made it, and `make_cluster_scenario` restores it."""
        self._over.set()
        self._end_webhooks()
        super().__exit__(*details)
        for ingest in self.ingests.values():
            ingest.kill()

    # -- the bridge ----------------------------------------------------------------------------------------------

    def start_all(self) -> Self:
        """Start workers and ingests, each at another node first, and wait until all are ready."""
        # One declares everything; three at once would wait for each other.
        self.start(BROKER__URL=self._at(0))
        for number in range(1, WORKERS):
            self.start(ready=False, BROKER__URL=self._at(number))
        for number in range(INGESTS):
            self._start_ingest(number)
        for process in [*self.workers, *self.ingests.values()]:
            process.wait_ready()
        return self

    def restart_all(self) -> None:
        """Restart one process after the other, as an operator does for a new list of addresses."""
        for number, worker in enumerate([worker for worker in self.workers if worker not in self.killed]):
            assert self.end(worker) == 0
            self.start(BROKER__URL=self._at(number))
        for number, (port, ingest) in enumerate(list(self.ingests.items())):
            assert ingest.stop(signal.SIGTERM) == 0
            ingest.kill()
            self._start_ingest(number, port)
            self.ingests[port].wait_ready()

    def _start_ingest(self, number: int, port: int | None = None) -> None:
        port, directory = port or free_port(), self.directory / f"ingest-{number}"
        own = {
            "BRIDGE_BROKER__URL": self._at(number + 1),
            "BRIDGE_INGEST__PORT": str(port),
            "BRIDGE_INGEST__SPOOL": str(directory / "spool"),
        }
        self.ingests[port] = BridgeProcess(directory, "ingest", env=self.env | own)

    def _at(self, number: int) -> str:
        """Return the list of URLs of the cluster's nodes that begins with another node for each number."""
        first = number % len(self.cluster.joined)
        nodes = [*self.cluster.joined[first:], *self.cluster.joined[:first]]
        return LIST.join(node.url(self.vhost) for node in nodes)

    # -- load ----------------------------------------------------------------------------------------------------

    def load(self, seconds: float, rate: float, *, scheduled: int = SCHEDULED) -> Self:
        """Publish `rate` commands a second and post webhooks for so many seconds, on threads of their own.

        `scheduled` of a hundred commands are for later.
        """
        made = [self._some_command(number / rate, scheduled) for number in range(int(seconds * rate))]
        self._began = time.time()
        self._ended = self._began + seconds
        for number in range(PUBLISHERS):
            url = self.cluster.url(self.vhost, first=number % len(self.cluster.joined))
            self.in_background(
                partial(self._publish_in_time, RegularPublisher(url), made[number::PUBLISHERS])
            )
        first, *others = (Webhook(port=port) for port in self.ingests)
        self._webhooks = NotificationLoad(first, clients=1, others=others, pause=1 / WEBHOOKS)
        self._webhooks.__enter__()
        return self

    def repeat(self, texts: Sequence[str]) -> None:
        """Publish the commands with these texts once more, as a publisher does that had no confirm."""
        ids = {text: command_id for command_id, text in self.commands.items()}
        self.publish([self._bodies[ids[text]] for text in texts])

    def wait_load(self, share: float = 1.0) -> None:
        """Wait until this share of the load's time has passed."""
        end = self._began + (self._ended - self._began) * share
        wait_until(lambda: time.time() >= end, within=600, every=0.1, what="the load's time")

    def _some_command(self, after: float, scheduled: int) -> tuple[float, str, bytes]:
        """Make a command that is published so many seconds after the load began; some have a fault or are for later."""
        draw = self.chance.random() * 100
        fault = self.chance.choice(FAULTS) if draw < FAULTY else None
        # A number for each: the provider's history of a pair is cut off where it grows long.
        fields = {"destination_address": f"+1613555{len(self.commands):04}"}
        if FAULTY <= draw < FAULTY + scheduled:
            due = time.time() + after + self.chance.uniform(*LATER)
            fields["send_at"] = datetime.fromtimestamp(due, UTC).isoformat()
        command_id, body = self.command(fault, **fields)
        self._bodies[command_id] = body
        if "send_at" not in fields:
            self._published[command_id] = 0.0
        return after, command_id, body

    def _publish_in_time(self, publisher: RegularPublisher, made: Sequence[tuple[float, str, bytes]]) -> None:
        with publisher:
            for after, command_id, body in made:
                self._over.wait(max(0.0, self._began + after - time.time()))
                if command_id in self._published:
                    self._published[command_id] = time.time()
                self._publish([body], publisher)

    def _end_webhooks(self) -> None:
        if self._webhooks is not None:
            self._webhooks.__exit__()

    # -- the results -------------------------------------------------------------------------------------------

    def finish(self, *, within: float = 120) -> Verdict:
        """As a scenario's, once the webhooks have ended."""
        self._end_webhooks()
        return super().finish(within=within)

    def is_idle(self) -> bool:
        """As a scenario's, and no ingest has an event in its spool."""
        return super().is_idle() and all(spooled(ingest) == 0 for ingest in self.ingests.values())

    def left(self) -> Run:
        """As a scenario's, with what the ingests left."""
        run, ingests = super().left(), self.ingests.values()
        said = [line for ingest in ingests for line in (ingest.stdout + ingest.logs).splitlines()]
        return replace(
            run,
            exits=[*run.exits, *(ingest.returncode for ingest in ingests if ingest.returncode is not None)],
            leaks=[*run.leaks, *(line for line in said if CANARIES.search(line))],
        )

    def judged(self) -> Verdict:
        """As a scenario's, with what became of the webhooks."""
        verdict = super().judged()
        return replace(verdict, violations=(*verdict.violations, *self._wrong_webhooks()))

    def _accepted(self) -> set[str]:
        return self.posted | (set() if self._webhooks is None else self._webhooks.accepted())

    def _missing(self) -> set[str]:
        published = {
            m.json["data"]["message_id"] for m in self.events if m.routing_key == "sms.inbound.received"
        }
        return self._accepted() - published

    def _wrong_webhooks(self) -> Iterable[str]:
        if missing := self._missing():
            yield f"webhooks that were answered 2xx and are no event: {len(missing)}, as {min(missing)}"
        bodies: dict[str, set[bytes]] = {}
        for message in self.events:
            if message.routing_key == "sms.inbound.received":
                message_id = message.json["data"]["message_id"]
                bodies.setdefault(message_id, set()).add(message.body)
                if message.properties["message_id"] != inbound_id(message_id):
                    yield f"the event of webhook {message_id} has another id"
        yield from (f"webhook {id_} is two events" for id_, copies in bodies.items() if len(copies) > 1)

    def note(self, verdict: Verdict) -> None:
        """Put the scenario's row into the report."""
        taken = sorted((e["accepted_at"] / 1000, e["message"]) for e in self.provider.journal())
        self.standstill = longest_gap([at for at, _ in taken], self._began, self._ended)
        first: dict[str, float] = {}
        for at, text in taken:
            first.setdefault(text, at)
        waits = [
            first[self.commands[id_]] - at
            for id_, at in self._published.items()
            if at and self.commands[id_] in first
        ]
        sums = Sums(
            accepted=len(self._accepted()),
            missing=len(self._missing()),
            standstill=self.standstill,
            slowest=max(waits, default=0.0),
        )
        self._report.note(
            ClusterRow(
                scenario=self.name, fired=self.fired, commands=len(self.commands), verdict=verdict, sums=sums
            )
        )

    def assert_stood_still(self, at_most: float) -> None:
        """Check the longest time without a send; a slow machine may need longer (`FAULTS_PATIENCE`)."""
        assert self.standstill <= at_most * TIMEOUT


def longest_gap(moments: Sequence[float], began: float, ended: float) -> float:
    """Return the longest time between two moments, or either end, from `began` to `ended`."""
    inside = [began, *(moment for moment in moments if began < moment < ended), ended]
    return max(later - earlier for earlier, later in itertools.pairwise(inside))
