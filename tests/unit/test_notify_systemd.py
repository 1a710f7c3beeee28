"""Messages to systemd, through a socket like systemd's."""

from __future__ import annotations

import socket
import uuid
from typing import TYPE_CHECKING

import pytest

from bridge.ops.service_manager import ready, stopping

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("abstract", [False, True])
def test_start_and_stop_are_reported_to_systemd(abstract: bool, tmp_path: Path) -> None:
    name = f"@sms-bridge-{uuid.uuid4()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0", 1))
        manager.settimeout(10)
        ready({"NOTIFY_SOCKET": name})
        stopping({"NOTIFY_SOCKET": name})

        assert [manager.recv(100), manager.recv(100)] == [b"READY=1", b"STOPPING=1"]


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nobody/listens"}])
def test_nothing_is_reported_without_a_service_manager(environ: dict[str, str]) -> None:
    ready(environ)
    stopping(environ)
