"""Forked children: equal to executed ones, and executed where a fork would differ."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.commands import run
from tests.harness.forks import BRIDGE, Server, ServerEnded
from tests.harness.processes import USUAL, BridgeProcess
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux has pidfd_open")


@pytest.fixture(params=["forked", "executed"])
def how(request: pytest.FixtureRequest) -> str:
    """Start the test's children in this way."""
    Server.allowed = request.param == "forked"
    return str(request.param)


@pytest.fixture
def simulator(how: str, tmp_path: Path) -> Iterator[BridgeProcess]:
    """Run a long-lived child."""
    child = BridgeProcess(tmp_path, "simulator", "--port", "0", env={"BRIDGE_LOG__FORMAT": "json"})
    try:
        wait_until(lambda: '"simulator.started"' in child.logs, what="the simulator")
        yield child
    finally:
        child.kill()


def test_child_has_its_own_session_and_directory_and_the_usual_signals_and_files(
    simulator: BridgeProcess, how: str, tmp_path: Path
) -> None:
    process = Path(f"/proc/{simulator.pid}")
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    ignored = {number for number in signal.Signals if int(status["SigIgn"], 16) >> (number - 1) & 1}
    streams = [str((process / "fd" / name).readlink()) for name in "012"]

    assert ("forks.py" in (process / "cmdline").read_text()) == (how == "forked")
    assert os.getsid(simulator.pid) == os.getpgid(simulator.pid) == simulator.pid
    assert (process / "cwd").readlink() == tmp_path
    assert streams == [os.devnull, str(tmp_path / "stdout"), str(tmp_path / "stderr")]
    assert ignored == {signal.SIGPIPE, signal.SIGXFSZ}
    assert int(status["SigBlk"], 16) == 0


@pytest.mark.parametrize(
    ("how", "number", "code"),
    [("forked", signal.SIGINT, 0), ("forked", signal.SIGKILL, -9), ("forked", signal.SIGALRM, -14)],
    indirect=["how"],
)
def test_child_handles_signals_and_has_the_exit_code_of_its_end(
    simulator: BridgeProcess, number: signal.Signals, code: int
) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        simulator.wait(0.01)
    before = simulator.returncode

    assert (before, simulator.stop(number), simulator.returncode) == (None, code, code)


def test_command_has_its_own_environment_and_streams(how: str) -> None:
    changed = run("config", "show", "--json", env={"BRIDGE_WORKER__LEASE": "77"})
    usual = run("config", "show", "--json")
    message = ("send", "--to", "nobody", "--message", "-")
    read = run(*message, stdin="é" * 200_000)
    misused = run("config", "show", "--nonsense")

    assert (changed.json["worker"]["lease"], usual.json["worker"]["lease"]) == (77, 120)
    assert (changed.code, changed.stderr) == (0, "")
    assert (read.code, read.stdout) == (2, "")
    assert "the body is larger than" in read.stderr
    assert (misused.code, misused.stdout) == (2, "")
    assert misused.stderr.startswith("Usage: bridge config show")


def test_child_is_executed_if_the_start_of_an_interpreter_matters() -> None:
    worker = [BRIDGE, "worker"]

    assert Server.of(worker, {**USUAL, "BRIDGE_WORKER__LEASE": "77"}, USUAL) is not None
    assert Server.of([BRIDGE, "up"], USUAL, USUAL) is None
    assert Server.of([sys.executable, "-c", ""], USUAL, USUAL) is None
    for name in ("PYTHONHASHSEED", "LC_ALL", "LD_PRELOAD", "TZ", "NOTIFY_SOCKET"):
        assert Server.of(worker, {**USUAL, name: "other"}, USUAL) is None


@pytest.mark.executed
def test_mark_executed_executes_children() -> None:
    assert Server.of([BRIDGE, "worker"], USUAL, USUAL) is None


def test_fork_server_that_cannot_start_reports_the_reason(tmp_path: Path) -> None:
    (tmp_path / "bridge.py").write_text("raise ImportError('no such bridge')")
    server = Server({**os.environ, "PYTHONPATH": str(tmp_path)})

    with pytest.raises(ServerEnded, match="no such bridge"):
        server.fork([BRIDGE, "--version"], {}, tmp_path, [0, 1, 2])

    server.stop()


SUITE = """
import pathlib, sys
from tests.harness.forks import Server
from tests.harness.processes import BridgeProcess
Server.allowed = True
child = BridgeProcess(pathlib.Path(sys.argv[1]), "simulator", "--port", "0")
print(child.pid, Server.running._process.pid, flush=True)
sys.stdin.read()
"""


def test_child_and_fork_server_end_with_killed_tests(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SUITE, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as suite:
        assert suite.stdout
        pids = suite.stdout.readline().split()
        suite.kill()

    assert len(pids) == 2
    wait_until(lambda: not any(_runs(pid) for pid in pids), what="no process of theirs")


def _runs(pid: str) -> bool:
    shown = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True, check=False)
    return shown.stdout.strip()[:1] not in {"", "Z"}
