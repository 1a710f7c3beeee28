"""The test harness: waits, the network guard, and child processes that always end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.harness.processes import BridgeProcess, clean_environment
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path


def test_wait_ends_with_its_condition() -> None:
    with pytest.raises(AssertionError, match=r"not within 0\.05 s: rain; last: 0"):
        wait_until(lambda: 0, within=0.05, what="rain")


def test_port_of_one_test_process_is_never_given_to_another() -> None:
    ask = (
        "from tests.harness import waiting; waiting.PORTS = (20_000, 20_012);"
        "print(waiting.free_port(), flush=True); input()"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", ask], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    ports = [child.stdout.readline().strip() for child in children if child.stdout]
    for child in children:
        child.communicate("\n", timeout=10)

    assert len(set(ports)) == 8


def test_nothing_connects_beyond_loopback() -> None:
    with socket.socket() as client, pytest.raises(pytest.fail.Exception, match="loopback only"):
        client.connect(("192.0.2.1", 9))


def test_no_datagram_goes_beyond_loopback() -> None:
    with (
        socket.socket(type=socket.SOCK_DGRAM) as client,
        pytest.raises(pytest.fail.Exception, match="loopback"),
    ):
        client.sendto(b"", ("192.0.2.1", 9))


def test_only_names_of_the_machine_are_resolved() -> None:
    with pytest.raises(pytest.fail.Exception, match="loopback only"):
        socket.getaddrinfo("example.com", 80)
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("nobody.invalid", 80)
    assert socket.getaddrinfo("localhost", 80)


def test_children_inherit_no_configuration_and_no_proxy() -> None:
    os.environ["BRIDGE_LOG__LEVEL"] = "debug"
    try:
        environment = clean_environment({"BRIDGE_LOG__FORMAT": "json"})
    finally:
        del os.environ["BRIDGE_LOG__LEVEL"]

    assert [name for name in environment if name.startswith("BRIDGE_")] == ["BRIDGE_LOG__FORMAT"]


class Child(BridgeProcess):
    """Another program instead of `bridge`."""

    program = (sys.executable, "-c")


def test_child_is_stopped_with_a_signal_and_its_streams_are_kept(tmp_path: Path) -> None:
    # Not signal.pause: it would miss a signal that comes just before. A suite that a shell starts in the background
    # ignores SIGINT, and children inherit that.
    talk = (
        "import signal, sys, time; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "print('data', flush=True); print('log', file=sys.stderr, flush=True)\n"
        "while True: time.sleep(0.05)"
    )
    child = Child(tmp_path, talk)
    wait_until(lambda: child.logs, what="a log line")
    code = child.stop(signal.SIGINT)
    child.kill()

    assert code != 0
    assert child.stdout == "data\n"
    assert child.logs.startswith("log\n")


def test_waiting_for_a_child_that_ended_fails_at_once_with_its_log(tmp_path: Path) -> None:
    child = Child(tmp_path, "raise SystemExit('no configuration')")

    with pytest.raises(AssertionError, match="no configuration"):
        child.wait_ready()
    child.kill()


SUITE = """
import pathlib, sys
from tests.unit.test_harness import Child
child = Child(pathlib.Path(sys.argv[1]), "import signal; signal.pause()")
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_child_ends_with_killed_tests(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SUITE, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as suite:
        assert suite.stdout
        pid = int(suite.stdout.readline())
        suite.kill()

    wait_until(lambda: not _runs(pid), what="no child")


def _runs(pid: int) -> bool:
    """Whether `pid` runs; a zombie that its new parent has not reaped does not."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip()[:1] not in {"", "Z"}
