"""Status reports to systemd, through a socket like systemd's, and the reasons that stop the watchdog."""

from __future__ import annotations

import http.client
import os
import socket
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from bridge.adapters.clock import SystemClock
from bridge.adapters.http.supervisor_app import stall_of
from bridge.app.admin import make_metrics, serve_admin
from bridge.app.broker import BrokerConnections
from bridge.app.ingest import IngestProcess
from bridge.app.process import ProcessContext
from bridge.domain.messages import Delivery
from bridge.ops.progress import TIMEOUT, ThreadProgress
from bridge.ops.service_manager import watchdog_seconds
from bridge.ops.service_report import LONGEST, Reporting, status_of
from bridge.ops.shutdown import Stopping
from bridge.ports.http_results import Readiness, Reason
from bridge.settings import load
from tests.fakes.clock import HandClock
from tests.fakes.ledger import MemoryLedger
from tests.fakes.publisher import FakePublisher
from tests.harness.waiting import wait_until
from tests.unit.worker_setup import IdleSource, body_of, worker_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bridge.domain.ledger import Change

#: Seconds of the watchdog here.
WATCHDOG = 0.2
WELL = Readiness(ready=True, reasons=(Reason("sending", ok=True, detail="nothing known against it"),))


class ShiftedClock(SystemClock):
    """A manual clock."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


# -- progress --------------------------------------------------------------------------------------


def test_counter_without_progress_is_stalled_after_its_timeout() -> None:
    clock, counts = HandClock(mono=0.0), {"loop": 0, "link": 0}
    progress = ThreadProgress(clock, timeout=30)
    for name in counts:
        progress.watch(name, lambda name=name: counts[name])  # type: ignore[misc]
    confirmed = []
    for clock.mono in (0.0, 30.0, 31.0, 62.0):
        counts["link"] += 1
        confirmed.append(progress.stall())
    counts["loop"] += 1
    confirmed.append(progress.stall())

    still = "loop has been stalled for more than 30 s"
    assert confirmed == [None, None, still, still, None]


def test_nothing_is_stalled_without_counters() -> None:
    assert ThreadProgress(HandClock()).stall() is None


class FrozenLedger(MemoryLedger):
    """A ledger whose commits return when the test permits."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked, self.let_go = threading.Event(), threading.Event()

    def apply(self, changes: Sequence[Change]) -> list[object]:
        self.is_asked.set()
        self.let_go.wait(20)
        return super().apply(changes)


def test_stuck_loop_stops_counting_and_idle_loop_counts() -> None:
    ledger, publisher, source = FrozenLedger(), FakePublisher(), IdleSource()
    worker = worker_on(ledger, threading.Event(), publisher)
    worker.start(source)
    wait_until(lambda: worker.iterations > 1, what="an idle loop that goes round")
    clock = HandClock()
    progress = ThreadProgress(clock)
    progress.watch("the loop", lambda: worker.iterations)
    worker.receive(Delivery(body_of("a"), tag=(1, 1)))
    ledger.is_asked.wait(10)
    at_first = progress.stall()
    clock.mono += TIMEOUT + 1

    assert at_first is None
    assert progress.stall() == f"the loop has been stalled for more than {TIMEOUT:.0f} s"
    worker.lose()
    ledger.let_go.set()
    wait_until(lambda: progress.stall() is None)
    worker.stop(grace=1)
    publisher.close()


# -- reports ---------------------------------------------------------------------------------------


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Listen like systemd."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(10)
        yield listening


@pytest.fixture
def report(manager: socket.socket) -> Iterator[Callable[..., None]]:
    """Report to the manager, with a watchdog, until the end of the test."""
    started: list[Reporting] = []

    def start(ready: Callable[[], Readiness | None], stall: Callable[[], str | None]) -> None:
        environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": str(int(WATCHDOG * 1e6))}
        started.append(Reporting(ready, stall, environ))
        started[-1].start()

    yield start
    for one in started:
        one.stop()


def confirmed(manager: socket.socket, wanted: Callable[[bytes], bool]) -> bytes:
    """Return the first matching report."""
    while not wanted(line := manager.recv(1000)):
        pass
    return line


def test_status_is_reported_when_it_changes(manager: socket.socket, report: Callable[..., None]) -> None:
    state = [WELL]
    report(lambda: state[-1], lambda: None)
    lines = [confirmed(manager, lambda line: line.startswith(b"STATUS"))]
    state.append(Readiness(ready=False, reasons=(Reason("sending", ok=False, detail="no\ncredit"),)))
    lines.append(confirmed(manager, lambda line: line.startswith(b"STATUS")))
    beats = [manager.recv(1000) for _ in range(5)]

    assert lines == [b"STATUS=ready", b"STATUS=not ready; sending: no credit"]
    assert beats == [b"WATCHDOG=1"] * 5


def test_stalled_process_reports_it_and_feeds_no_watchdog(
    manager: socket.socket, report: Callable[..., None]
) -> None:
    still: list[str | None] = [None]
    report(lambda: WELL, lambda: still[-1])
    confirmed(manager, b"WATCHDOG=1".__eq__)
    still.append("the loop")

    assert confirmed(manager, b"STATUS=the loop".__eq__)

    manager.settimeout(2 * WATCHDOG)
    with pytest.raises(TimeoutError):
        manager.recv(1000)

    still.append(None)
    manager.settimeout(10)

    assert confirmed(manager, b"WATCHDOG=1".__eq__)
    assert confirmed(manager, b"STATUS=ready".__eq__)


def test_process_whose_health_check_raises_feeds_no_watchdog(
    manager: socket.socket, report: Callable[..., None]
) -> None:
    def stall() -> str | None:
        raise RuntimeError("an unexpected exception")

    report(lambda: WELL, stall)
    manager.settimeout(2 * WATCHDOG)
    with pytest.raises(TimeoutError):
        manager.recv(1000)


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "90000000"}, 90.0),
        ({"WATCHDOG_USEC": "90000000", "WATCHDOG_PID": str(os.getpid())}, 90.0),
        ({"WATCHDOG_USEC": "90000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": ""}, None),
    ],
)
def test_watchdog_of_another_process_is_ignored(environ: dict[str, str], seconds: float | None) -> None:
    assert watchdog_seconds(environ) == seconds


@pytest.mark.parametrize(
    ("readiness", "line"),
    [
        (None, None),
        (WELL, "ready"),
        (
            Readiness(ready=True, reasons=(Reason("spool", ok=False, detail="full"),)),
            "ready; spool: full",
        ),
        (Readiness(ready=False), "not ready"),
    ],
)
def test_status_names_the_reason(readiness: Readiness | None, line: str | None) -> None:
    assert status_of(readiness) == line


def test_status_is_no_longer_than_a_line() -> None:
    long = Readiness(ready=False, reasons=(Reason("sending", ok=False, detail="x" * 2000),))

    assert len(status_of(long) or "") == LONGEST


@pytest.mark.parametrize(
    ("reason", "stall"),
    [
        (Reason("process 1: working", ok=False, detail="the loop"), "process 1: working: the loop"),
        (Reason("process 1", ok=False, detail="does not answer"), "process 1: does not answer"),
        (Reason("process 1", ok=False, detail="starting"), None),
        (Reason("process 1: sending", ok=False, detail="no credit"), None),
        (Reason("process 1: working", ok=True, detail="all its threads go on"), None),
    ],
)
def test_supervisor_distinguishes_a_stalled_process_from_an_unhealthy_one(
    reason: Reason, stall: str | None
) -> None:
    assert stall_of(Readiness(ready=False, reasons=(reason,))) == stall


# -- the ingest ------------------------------------------------------------------------------------


def test_ingest_is_stalled_while_its_event_loop_is(tmp_path: Path) -> None:
    environ = {
        "BRIDGE_BROKER__URL": "amqp://guest:guest@127.0.0.1:1/",
        "BRIDGE_INGEST__PORT": "0",
        "BRIDGE_ADMIN__PORT": "0",
        "BRIDGE_LEDGER__URL": f"sqlite:///{tmp_path / 'ledger.sqlite3'}",
    }
    settings = load({}, environ, lambda name: "")
    clock, metrics = ShiftedClock(), make_metrics()
    context = ProcessContext(settings=settings, stopping=Stopping(), metrics=metrics, clock=clock)
    process = IngestProcess(context, BrokerConnections(context))
    admin = serve_admin(settings, process.readiness, metrics, process.stall)
    before = process.stall()
    process.start()
    let_go, stalled = threading.Event(), threading.Event()

    async def stand_still() -> None:
        stalled.set()
        let_go.wait(20)

    blocked = threading.Thread(target=lambda: process.webhook.call(stand_still, 20))
    blocked.start()
    stalled.wait(10)
    soon = process.stall()
    clock.ahead = TIMEOUT + 1
    still = process.stall()
    with closing(http.client.HTTPConnection("127.0.0.1", admin.port, timeout=10)) as connection:
        connection.request("GET", "/livez")
        alive = connection.getresponse()
        words = alive.read().decode()
    let_go.set()
    blocked.join(10)

    assert (before, soon) == (None, None)
    assert still == "the webhook's event loop has been stalled for more than 30 s"
    assert (alive.status, words) == (503, f"{still}\n")
    wait_until(lambda: process.stall() is None)

    process.stop()
    admin.stop(0)
