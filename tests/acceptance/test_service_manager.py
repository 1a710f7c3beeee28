"""systemd learns when a service runs and when it is on its way out."""

from __future__ import annotations

import json
import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from tests.harness.service_manager import empty, fed, heard
from tests.harness.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import StartBridge

pytestmark = pytest.mark.acceptance

#: Seconds within which these services are to feed their watchdog.
WATCHDOG = 3.0


@pytest.fixture
def manager(tmp_path: Path, env: dict[str, str]) -> Iterator[socket.socket]:
    """Listen as systemd does, and have the services of this test told where and for how long."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        env |= {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": str(int(WATCHDOG * 1e6)),
            "BRIDGE_INGEST__PORT": "0",
        }
        yield manager


@pytest.mark.parametrize("role", ["worker", "ingest"])
def test_a_service_reports_ready_without_a_broker_and_stopping_on_sigterm(
    role: str, bridge_process: StartBridge, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        env = {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "BRIDGE_BROKER__URL": "amqp://guest:guest@127.0.0.1:1/",
            "BRIDGE_CPAAS__BASE_URL": "http://127.0.0.1:1",
            "BRIDGE_CPAAS__CLIENT_ID": "project",
            "BRIDGE_CPAAS__CLIENT_SECRET": "secret",
            "BRIDGE_INGEST__PORT": "0",
        }
        service = bridge_process(role, env=env, ready=False)
        published = heard(manager, b"READY=1")
        published += heard(manager, b"no connection to the broker")
        service.send_signal(signal.SIGTERM)
        published += heard(manager, b"STOPPING=1")

    assert [line for line in published if not line.startswith(b"STATUS=")] == [b"READY=1", b"STOPPING=1"]
    assert service.wait() == 0


@pytest.mark.parametrize("endpoint", ["INGEST", "SUBMIT"])
@pytest.mark.parametrize("lacking", ["port", "certificate"])
def test_an_ingest_that_can_not_listen_never_reports_ready(
    lacking: str,
    endpoint: str,
    env: dict[str, str],
    bridge_process: StartBridge,
    manager: socket.socket,
    tmp_path: Path,
) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    env |= {"BRIDGE_SUBMIT__PORT": "0", "BRIDGE_SUBMIT__AUTHORIZATION": "Bearer plum-4711"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        own = {
            "port": {f"BRIDGE_{endpoint}__PORT": str(taken.getsockname()[1])},
            "certificate": {
                f"BRIDGE_{endpoint}__TLS_CERTIFICATE": str(tmp_path / "bad.pem"),
                f"BRIDGE_{endpoint}__TLS_KEY": str(tmp_path / "bad.pem"),
            },
        }[lacking]
        service = bridge_process("ingest", env={**env, **own}, ready=False)
        code = service.wait()

    assert code != 0
    assert f"{endpoint.lower()}." in service.logs
    assert b"READY=1" not in empty(manager)


def test_an_ingest_that_reports_ready_takes_connections(
    env: dict[str, str], bridge_process: StartBridge, manager: socket.socket
) -> None:
    port = free_port()
    service = bridge_process("ingest", env={**env, "BRIDGE_INGEST__PORT": str(port)}, ready=False)
    heard(manager, b"READY=1")
    with socket.create_connection(("127.0.0.1", port), timeout=10):
        pass

    assert service.stop() == 0


@pytest.mark.parametrize("role", ["worker", "ingest"])
def test_what_stands_still_feeds_no_watchdog(
    role: str, env: dict[str, str], bridge_process: StartBridge, manager: socket.socket
) -> None:
    service = bridge_process(role, env=env)
    heard(manager, b"WATCHDOG=1")
    heard(manager, b"STATUS=ready")
    service.send_signal(signal.SIGSTOP)
    empty(manager)

    assert not fed(manager, within=2 * WATCHDOG)

    service.send_signal(signal.SIGCONT)

    assert fed(manager, within=2 * WATCHDOG)


def test_a_supervisor_feeds_no_watchdog_while_one_of_its_processes_stands_still(
    env: dict[str, str], bridge_process: StartBridge, manager: socket.socket
) -> None:
    service = bridge_process("worker", env={**env, "BRIDGE_WORKER__PROCESSES": "2"})
    heard(manager, b"STATUS=ready")
    started = (json.loads(line) for line in service.logs.splitlines())
    child = next(line["pid"] for line in started if line["event"] == "process.started")
    os.kill(child, signal.SIGSTOP)
    published = b"".join(heard(manager, b"STATUS="))
    empty(manager)

    assert b"does not answer" in published
    status, words = service.admin("/livez")[:2]
    assert (status, "does not answer" in words) == (503, True)
    assert not fed(manager, within=2 * WATCHDOG)

    os.kill(child, signal.SIGKILL)

    # Another one takes its place.
    heard(manager, b"STATUS=ready")

    assert fed(manager, within=2 * WATCHDOG)
