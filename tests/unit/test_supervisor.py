"""The supervisor: actions after exits of processes, its health endpoints, and its stop."""

from __future__ import annotations

import json
import os
import signal
import threading
from concurrent.futures import Future
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from bridge.adapters.clock import SystemClock
from bridge.adapters.http.admin_app import Admin
from bridge.adapters.http.scraper import Merged
from bridge.adapters.http.supervisor_app import SupervisorAdmin
from bridge.domain.restarts import EX_CONFIG, MAX_BACKOFF, WELL, Consequence, End, Replace, after_exit
from bridge.ops.metrics import Metrics, SupervisorMetrics
from bridge.ops.shutdown import Stopping
from bridge.ops.supervisor import Supervision, Supervisor
from bridge.ports.http_results import Process, Readiness, Reason
from tests.harness.http_server import serving
from tests.harness.raw_http import Client
from tests.harness.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


# -- actions after an exit -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "lived", "deaths", "consequence"),
    [
        (EX_CONFIG, 3600.0, 0, End(code=EX_CONFIG)),
        (EX_CONFIG, 0.1, 5, End(code=EX_CONFIG)),
        (1, 0.1, 0, Replace(pause=0.5, deaths=1)),
        (0, 0.1, 0, Replace(pause=0.5, deaths=1)),
        (-signal.SIGKILL, 0.1, 1, Replace(pause=1, deaths=2)),
        (1, WELL - 1, 5, Replace(pause=16, deaths=6)),
        (1, WELL - 1, 6, Replace(pause=MAX_BACKOFF, deaths=7)),
        (1, 0.1, 100_000, Replace(pause=MAX_BACKOFF, deaths=100_001)),
        (1, WELL, 100_000, Replace(pause=0.5, deaths=1)),
    ],
)
def test_action_after_an_exit(code: int, lived: float, deaths: int, consequence: Consequence) -> None:
    assert after_exit(code, lived=lived, deaths=deaths) == consequence


def test_configuration_exit_code_is_that_of_the_system() -> None:
    assert os.EX_CONFIG == EX_CONFIG


# -- the supervisor --------------------------------------------------------------------------------


class FakeChild:
    """A process that exits when the test says so, or on a signal."""

    def __init__(self, number: int, *, obeys: bool = True) -> None:
        self.number = number
        self.pid = 1000 + number
        self.confirmed = False
        self._obeys = obeys
        self._port: Queue[int | None] = Queue()
        self._code: Future[int] = Future()

    def listen(self, port: int) -> None:
        self._port.put(port)

    def exit(self, code: int) -> None:
        self._port.put(None)
        if not self._code.done():
            self._code.set_result(code)

    def wait_listening(self, timeout: float) -> int | None:
        try:
            return self._port.get(timeout=timeout)
        except Empty:
            raise TimeoutError from None

    def wait(self) -> int:
        return self._code.result(timeout=10)

    def end(self) -> None:
        self.confirmed = True
        if self._obeys:
            self.exit(0)

    def kill(self) -> None:
        self.exit(-signal.SIGKILL)


class FakeSystem:
    """A system that starts processes, unless it has no resources."""

    def __init__(self) -> None:
        self.children: list[FakeChild] = []
        self.full = False
        self.obeyed = True

    def start(self, number: int) -> FakeChild:
        if self.full:
            raise OSError(11, "Resource temporarily unavailable")
        self.children.append(FakeChild(number, obeys=self.obeyed))
        return self.children[-1]

    def wait_started(self, number: int) -> list[FakeChild]:
        wait_until(lambda: len(self.children) >= number, what=f"{number} processes")
        return sorted(self.children, key=lambda child: child.number)


class SupervisorModel:
    """A supervisor of two on a fake system."""

    def __init__(self, started: float = 10) -> None:
        self.system = FakeSystem()
        self.stopping = Stopping()
        self.metrics = SupervisorMetrics()
        self.running = threading.Event()
        supervision = Supervision(
            start=self.system.start,
            stopping=self.stopping,
            clock=SystemClock(),
            metrics=self.metrics,
            started=started,
        )
        self.supervisor = Supervisor(supervision, 2, self.running.set)

    def stop(self, timeout: float = 10) -> int:
        self.stopping.event.set()
        return self.supervisor.stop(timeout)


@pytest.fixture
def model() -> Iterator[SupervisorModel]:
    """Return a supervisor that is always stopped at the end."""
    model = SupervisorModel()
    yield model
    model.stop(0)


def running(model: SupervisorModel) -> float | None:
    """Return the number of running processes that a supervisor reports."""
    return model.metrics.registry.get_sample_value("sms_bridge_processes_running")


def test_supervisor_is_running_once_one_process_listens_though_another_crashes(
    model: SupervisorModel,
) -> None:
    model.supervisor.start()
    one, other = model.system.wait_started(2)
    other.exit(1)
    wait_until(lambda: "starts again" in model.supervisor.processes()[1].detail)

    assert not model.running.is_set()

    one.listen(1111)

    assert model.running.wait(10)
    wait_until(lambda: running(model) == 1)
    assert model.supervisor.processes()[0] == Process(1, 1111, "running")


def test_process_that_never_listens_is_replaced() -> None:
    model = SupervisorModel(started=0.05)
    model.supervisor.start()
    one, _ = model.system.wait_started(2)
    wait_until(lambda: "did not listen within 0.05 s" in model.supervisor.processes()[0].detail)
    third = wait_until(lambda: [child for child in model.system.children[2:] if child.number == 1])[0]
    third.listen(3333)
    wait_until(lambda: running(model) == 1)

    assert one.wait() == -signal.SIGKILL
    assert model.stop() == 0


def test_process_that_exits_is_replaced_under_its_number(model: SupervisorModel) -> None:
    model.supervisor.start()
    one, other = model.system.wait_started(2)
    other.listen(2222)
    other.exit(-signal.SIGKILL)
    wait_until(lambda: "starts again" in model.supervisor.processes()[1].detail)
    third = wait_until(lambda: model.system.children[2:])[0]
    wait_until(lambda: model.supervisor.processes()[1] == Process(2, None, "starting"))

    assert third.number == 2
    assert not one.confirmed
    assert model.metrics.registry.get_sample_value("sms_bridge_process_restarts_total") == 1


def test_process_that_fails_to_start_is_started_again(model: SupervisorModel) -> None:
    model.system.full = True
    model.supervisor.start()
    wait_until(lambda: "can't be started" in model.supervisor.processes()[0].detail)
    model.system.full = False

    assert [child.number for child in model.system.wait_started(2)] == [1, 2]


def test_process_with_a_configuration_error_ends_all(model: SupervisorModel) -> None:
    model.supervisor.start()
    one, other = model.system.wait_started(2)
    one.exit(EX_CONFIG)

    assert model.stopping.wait() == EX_CONFIG
    assert model.stop() == 0
    assert (one.confirmed, other.confirmed) == (False, True)


def test_processes_that_stop_on_request_are_not_replaced(model: SupervisorModel) -> None:
    model.supervisor.start()
    model.system.wait_started(2)

    assert model.stop() == 0
    assert len(model.system.children) == 2


def test_processes_that_do_not_stop_are_killed_and_the_exit_is_a_failure(model: SupervisorModel) -> None:
    model.system.obeyed = False
    model.supervisor.start()
    children = model.system.wait_started(2)

    assert model.stop(timeout=0.1) == 1
    assert all(child.confirmed for child in children)
    assert not any(name.startswith("process-") for name in (thread.name for thread in threading.enumerate()))


def test_process_that_failed_before_the_stop_does_not_fail_the_stop(model: SupervisorModel) -> None:
    model.supervisor.start()
    one, _ = model.system.wait_started(2)
    one.exit(1)
    wait_until(lambda: "starts again" in model.supervisor.processes()[0].detail)

    assert model.stop() == 0


# -- its endpoints ---------------------------------------------------------------------------------


@pytest.fixture
def listening() -> Iterator[int]:
    """Serve the admin port of a process that is not ready; returns the port."""
    reasons = (Reason("consuming", ok=True, detail="yes"), Reason("publishing", ok=False, detail="no"))
    service = Admin(lambda: Readiness(ready=False, reasons=reasons), Metrics(version="1").registry)
    with serving(service) as server:
        yield server.port


class Answered(NamedTuple):
    status: int
    text: str

    @property
    def reasons(self) -> Any:
        return json.loads(self.text)["reasons"]


def asked(path: str, *processes: Process, draining: bool = False, method: str = "GET") -> Answered:
    """Send a request to a supervisor's admin port."""
    service = SupervisorAdmin(lambda: processes, lambda: draining, SupervisorMetrics().registry)
    with serving(service) as server, Client(server.port, timeout=10) as client:
        client.send(f"{method} {path} HTTP/1.1\r\nHost: bridge\r\n\r\n".encode())
        return Answered(client.status(head=method == "HEAD"), client.body.decode())


def test_reasons_are_named_after_their_processes(listening: int) -> None:
    answer = asked("/readyz", Process(1, listening, "running"), Process(2, None, "starting"))

    assert answer.status == 503
    assert json.loads(answer.text) == {
        "ready": False,
        "reasons": {
            "process 1: consuming": {"ok": True, "detail": "yes"},
            "process 1: publishing": {"ok": False, "detail": "no"},
            "process 2": {"ok": False, "detail": "starting"},
            "draining": {"ok": True, "detail": "no"},
        },
    }


def test_supervisor_is_live_while_its_processes_are_live_but_not_ready(listening: int) -> None:
    answer = asked("/livez", Process(1, listening, "running"), Process(2, None, "starting"))

    assert answer == (200, "ok\n")


def test_supervisor_is_not_live_while_a_process_is_stalled_or_silent() -> None:
    reasons = (Reason("working", ok=False, detail="the loop has stood still"),)
    service = Admin(lambda: Readiness(ready=False, reasons=reasons), Metrics(version="1").registry)
    with serving(service) as server:
        process = Process(1, server.port, "running")
        still = asked("/livez", process)
    silent = asked("/livez", process)

    assert still == (503, "process 1: working: the loop has stood still\n")
    assert silent == (503, "process 1: does not answer\n")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_head_request_of_a_page_is_answered_without_a_body(path: str) -> None:
    assert asked(path, method="HEAD") == (200, "")


def test_supervisor_is_not_ready_while_it_stops() -> None:
    answer = asked("/readyz", draining=True)

    assert answer.status == 503
    assert answer.reasons == {"draining": {"ok": False, "detail": "stopping"}}


def test_exited_process_counts_as_silent(listening: int) -> None:
    gone = free_port()
    answer = asked("/readyz", Process(1, gone, "running"))
    metrics = asked("/metrics", Process(1, listening, "running"), Process(2, gone, "running"))

    assert answer.reasons["process 1"] == {"ok": False, "detail": "does not answer"}
    assert 'sms_bridge_commands_received_total{process="1"}' in metrics.text
    assert 'process="2"' not in metrics.text


def test_supervisor_survives_any_end_of_its_processes() -> None:
    assert asked("/livez", Process(1, None, "starting")).status == 200


def test_incomplete_metrics_are_left_out() -> None:
    whole = generate_openmetrics(Metrics(version="1").registry).decode()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    registry.register(Merged({1: whole[: len(whole) // 2], 2: whole, 3: ""}))
    families = text_string_to_metric_families(generate_latest(registry).decode())
    processes = {sample.labels["process"] for family in families for sample in family.samples}

    assert processes == {"2"}
