"""What a service manager hears of a service, on a socket as systemd has one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket


def heard(manager: socket.socket, words: bytes) -> list[bytes]:
    """Return all that is told up to the first line with these words."""
    manager.settimeout(30)
    published = [manager.recv(1000)]
    while words not in published[-1]:
        published.append(manager.recv(1000))
    return published


def empty(manager: socket.socket) -> list[bytes]:
    """Return what was told and not heard yet."""
    published: list[bytes] = []
    manager.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            published.append(manager.recv(1000))
    return published


def fed(manager: socket.socket, within: float) -> bool:
    """Whether the watchdog is fed in time."""
    manager.settimeout(within)
    try:
        while manager.recv(1000) != b"WATCHDOG=1":
            pass
    except TimeoutError:
        return False
    return True
