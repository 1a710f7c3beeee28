"""A worker of several processes: they share the work, what dies is replaced, and none outlives the whole."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as of_new
from prometheus_client.parser import text_string_to_metric_families as of_old

from bridge.domain.events import TERMINAL
from tests.acceptance.bench import Bench, text_of
from tests.harness.service_manager import empty, heard
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client import Metric

    from tests.acceptance.conftest import Provider
    from tests.conftest import StartBridge
    from tests.harness.broker_client import BrokerClient
    from tests.harness.processes import BridgeProcess

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]


@pytest.fixture
def bench(amqp: BrokerClient, provider: Provider) -> Bench:
    """Return a service's view of what the test starts."""
    return Bench(amqp, provider)


@pytest.fixture
def two(env: dict[str, str]) -> dict[str, str]:
    """Return the configuration of a worker of two processes, in which what is lost is noticed soon."""
    return {
        **env,
        "BRIDGE_CPAAS__READ_TIMEOUT": "1",
        "BRIDGE_CPAAS__TOTAL_TIMEOUT": "2",
        "BRIDGE_WORKER__LEASE": "3",
        "BRIDGE_WORKER__CONCURRENCY": "4",
        "BRIDGE_WORKER__PROCESSES": "2",
    }


def lines_of(worker: BridgeProcess, event: str) -> list[dict[str, Any]]:
    """Return the lines that the supervisor and its processes logged under this name."""
    lines = (json.loads(line) for line in worker.logs.splitlines() if line.startswith("{"))
    return [line for line in lines if line["event"] == event]


def pids(worker: BridgeProcess) -> dict[int, int]:
    """Return the process that was started last of each number."""
    return {line["process"]: line["pid"] for line in lines_of(worker, "process.started")}


def runs(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def unhealthy(worker: BridgeProcess) -> dict[str, dict[str, Any]]:
    """Return the reasons for which the worker is not ready."""
    status, body = worker.admin("/readyz")
    reasons = json.loads(body)["reasons"] if status == 503 else {}
    return {name: reason for name, reason in reasons.items() if not reason["ok"]}


def received(worker: BridgeProcess) -> dict[str, float]:
    """Return how many commands each process took from the queue, by its metrics."""
    return {
        sample.labels["process"]: sample.value
        for family in of_old(worker.admin("/metrics")[1])
        for sample in family.samples
        if sample.name == "sms_bridge_commands_received_total"
    }


#: How the metrics are asked for, by what reads them.
ACCEPT = {of_old: "text/plain", of_new: "application/openmetrics-text"}


def load(bench: Bench, number: int = 40) -> list[str]:
    """Publish commands and return their ids."""
    ids = [f"shared {index}" for index in range(number)]
    for command_id in ids:
        bench.send(command_id)
    return ids


def assert_each_sent_once(bench: Bench, ids: Iterable[str]) -> None:
    """Check that each command was one SMS and has one outcome, however often that was told."""
    ids = list(ids)

    def published() -> dict[str, set[tuple[str, bytes]]]:
        outcomes: dict[str, set[tuple[str, bytes]]] = {command_id: set() for command_id in ids}
        for message in bench.events.look():
            if message.routing_key in TERMINAL:
                outcomes[message.json["subject"]].add((message.routing_key, message.body))
        return outcomes

    wait_until(lambda: all(published().values()), 40, what="an outcome of each")
    texts = bench.provider.texts()

    assert {tuple(word for word, _ in outcomes) for outcomes in published().values()} == {
        ("sms.outbound.sent",)
    }
    assert {command_id: texts.count(text_of(command_id)) for command_id in ids} == dict.fromkeys(ids, 1)
    assert bench.dead.look() == []


def test_processes_share_the_work_and_call_for_each_command_once(
    bridge_process: StartBridge, two: Mapping[str, str], bench: Bench
) -> None:
    bench.provider.settings(latency=0.1)
    worker = bridge_process("worker", env=two)
    ids = load(bench)
    assert_each_sent_once(bench, ids)
    shares = received(worker)
    published = [message.json["subject"] for message in bench.events.look()]

    assert shares.keys() == {"1", "2"}
    assert all(shares.values())
    assert sum(shares.values()) == len(ids)
    assert sorted(published) == sorted(ids)
    assert {line["process"] for line in lines_of(worker, "broker.connected")} == {1, 2}


def test_a_killed_process_is_replaced_and_its_work_done_once(
    bridge_process: StartBridge, two: Mapping[str, str], bench: Bench
) -> None:
    bench.provider.settings(latency=0.15)
    worker = bridge_process("worker", env=two)
    before = pids(worker)
    ids = load(bench)
    wait_until(lambda: len(bench.provider.journal()) >= 8)
    os.kill(before[2], signal.SIGKILL)
    meanwhile = wait_until(lambda: unhealthy(worker), what="a worker that says so")
    worker.wait_ready()
    assert_each_sent_once(bench, ids)
    (exited,) = lines_of(worker, "process.exited")
    metrics = worker.admin("/metrics")[1]

    assert meanwhile.keys() == {"process 2"}
    assert (exited["process"], exited["signal"], exited["retry_in"]) == (2, "SIGKILL", 0.5)
    assert "memory" in exited["hint"]
    assert pids(worker)[1] == before[1]
    assert pids(worker)[2] != before[2]
    assert "\nsms_bridge_process_restarts_total 1.0\n" in metrics
    assert worker.stop(signal.SIGTERM) == 0


def test_processes_end_with_their_supervisor_and_finish_what_they_hold(
    bridge_process: StartBridge, two: Mapping[str, str], bench: Bench
) -> None:
    bench.provider.settings(latency=0.3)
    worker = bridge_process("worker", env=two)
    ids = load(bench)
    wait_until(lambda: len(bench.provider.journal()) >= 8)
    worker.stop(signal.SIGKILL)
    wait_until(lambda: not any(map(runs, pids(worker).values())), what="processes that have ended")
    stopped = lines_of(worker, "worker.stopped")
    published = {message.json["subject"] for message in bench.events.look()}

    assert [line["finished"] for line in stopped] == [True, True]
    assert {text_of(command_id) for command_id in published} == set(bench.provider.texts())
    assert 0 < bench.amqp.depth("sms.send") == len(ids) - len(published)

    bridge_process("worker", env=two)
    assert_each_sent_once(bench, ids)


@pytest.mark.parametrize("group", [False, True], ids=["SIGTERM", "Ctrl-C"])
def test_told_to_end_under_load_it_leaves_nothing_in_doubt(
    bridge_process: StartBridge, two: Mapping[str, str], bench: Bench, group: bool
) -> None:
    """A terminal's Ctrl-C goes to every process, and the supervisor tells each to end besides."""
    bench.provider.settings(latency=0.3)
    worker = bridge_process("worker", env=two)
    ids = load(bench)
    wait_until(lambda: len(bench.provider.journal()) >= 8)
    if group:
        os.killpg(worker.pid, signal.SIGINT)
    else:
        worker.send_signal(signal.SIGTERM)
    wait_until(lambda: worker.admin("/readyz")[0] in {0, 503}, what="a worker that drains")
    code = worker.wait()
    published = [message.json["subject"] for message in bench.events.look()]

    assert code == 0
    assert [line["finished"] for line in lines_of(worker, "worker.stopped")] == [True, True]
    assert sorted(map(text_of, published)) == sorted(bench.provider.texts())
    assert 0 < bench.amqp.depth("sms.send") == len(ids) - len(published)
    assert not any(map(runs, pids(worker).values()))


def test_told_to_end_before_it_runs_it_ends_in_order(
    bridge_process: StartBridge, two: Mapping[str, str]
) -> None:
    worker = bridge_process("worker", env=two, ready=False)
    wait_until(lambda: len(pids(worker)) == 2, what="processes that are started")

    assert worker.stop(signal.SIGTERM) == 0
    assert not any(map(runs, pids(worker).values()))


def test_a_second_sigterm_ends_all_at_once(
    bridge_process: StartBridge, two: Mapping[str, str], bench: Bench
) -> None:
    bench.provider.settings(latency=5)
    slow = {
        "BRIDGE_CPAAS__READ_TIMEOUT": "5",
        "BRIDGE_CPAAS__TOTAL_TIMEOUT": "6",
        "BRIDGE_WORKER__LEASE": "10",
    }
    worker = bridge_process("worker", env={**two, **slow})
    bench.send("hanging")
    wait_until(bench.provider.journal)
    worker.send_signal(signal.SIGTERM)
    wait_until(lambda: len(lines_of(worker, "process.stopping")) == 3, what="processes that stop")

    assert worker.stop(signal.SIGTERM, within=3) == 1
    wait_until(lambda: not any(map(runs, pids(worker).values())), 3, what="processes that have ended")


def test_a_process_that_stands_still_holds_up_no_answer(
    bridge_process: StartBridge, two: Mapping[str, str], bench: Bench
) -> None:
    worker = bridge_process("worker", env=two)
    os.kill(pids(worker)[1], signal.SIGSTOP)
    reasons = wait_until(lambda: unhealthy(worker), what="a reason")

    assert reasons == {"process 1": {"ok": False, "detail": "does not answer"}}
    assert worker.admin("/livez") == (503, "process 1: does not answer\n")
    assert received(worker).keys() == {"2"}

    os.kill(pids(worker)[1], signal.SIGCONT)
    worker.wait_ready()


def test_what_no_restart_cures_ends_all(
    bridge_process: StartBridge, two: Mapping[str, str], tmp_path: Path
) -> None:
    """The queue has another ledger."""
    bridge_process("worker", env=two).stop(signal.SIGTERM)
    other = {**two, "BRIDGE_LEDGER__URL": f"sqlite:///{tmp_path}/other.sqlite3"}
    worker = bridge_process("worker", env=other, ready=False)
    code = worker.wait()

    assert code == os.EX_CONFIG
    assert {line["code"] for line in lines_of(worker, "process.exited")} == {os.EX_CONFIG}
    assert lines_of(worker, "ledger.mismatched")
    assert not any(map(runs, pids(worker).values()))


@pytest.mark.parametrize("read", [of_old, of_new], ids=["text", "OpenMetrics"])
def test_metrics_are_those_of_all_processes_and_valid(
    bridge_process: StartBridge, two: Mapping[str, str], read: Callable[[str], Iterable[Metric]]
) -> None:
    worker = bridge_process("worker", env=two)
    url = f"http://127.0.0.1:{worker.admin_port}/metrics"
    asked = Request(url, headers={"Accept": ACCEPT[read]})
    with urlopen(asked, timeout=5) as answer:  # noqa: S310 - always http
        families = list(read(answer.read().decode()))
    names = [family.name for family in families]
    samples = [sample for family in families for sample in family.samples]
    series = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in samples]
    processes = {sample.name: set[str | None]() for sample in samples}
    for sample in samples:
        processes[sample.name].add(sample.labels.get("process"))
    running = [sample.value for sample in samples if sample.name == "sms_bridge_processes_running"]

    assert len(names) == len(set(names))
    assert len(series) == len(set(series))
    assert processes["sms_bridge_build_info"] == processes["sms_bridge_api_call_seconds_bucket"] == {"1", "2"}
    assert running == [2]


def test_the_service_is_ready_once_the_first_process_is_there(
    bridge_process: StartBridge, two: Mapping[str, str], tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        env = {
            **two,
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "BRIDGE_BROKER__URL": "amqp://guest:guest@127.0.0.1:1/",
        }
        worker = bridge_process("worker", env=env, ready=False)
        published = heard(manager, b"READY=1")
        there = lines_of(worker, "admin.listening")
        worker.send_signal(signal.SIGTERM)
        published += heard(manager, b"STOPPING=1")
        worker.wait()
        published += empty(manager)

    assert [line for line in published if not line.startswith(b"STATUS=")] == [b"READY=1", b"STOPPING=1"]
    assert {line.get("process") for line in there} in ({None, 1}, {None, 2}, {None, 1, 2})
    assert {line["host"] for line in there} == {"127.0.0.1"}


@pytest.mark.executed
def test_a_supervisor_is_small(bridge_process: StartBridge, two: Mapping[str, str]) -> None:
    worker = bridge_process("worker", env=two)
    own = Path(f"/proc/{worker.pid}/maps").read_text()

    assert worker.memory < 60
    assert "sqlite3" not in own
