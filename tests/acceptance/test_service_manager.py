"""systemd learns when a service runs and when it is on its way out."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartBridge

pytestmark = pytest.mark.acceptance


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
        told = [manager.recv(64)]
        service.send_signal(signal.SIGTERM)
        told.append(manager.recv(64))

    assert told == [b"READY=1", b"STOPPING=1"]
    assert service.wait() == 0
