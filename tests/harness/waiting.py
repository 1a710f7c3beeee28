"""Waiting on conditions with deadlines, and ports for servers of the tests."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: The range of ports for tests; the end is exclusive. It lies below the ports that the system gives to outgoing
#: connections (ip(7), ip_local_port_range): such a connection could take a port before a server listens on it.
PORTS = (20_000, 32_000)
#: Not seeded: two test processes with the same seed would draw the same ports.
_RANDOM = random.SystemRandom()
#: One file for each port, locked by the test process that uses the port. The files stay; a lock ends with its process.
_LOCKS = Path(tempfile.gettempdir(), f"sms-bridge-test-ports-{os.getuid()}")


def wait_until(condition: Callable[[], T], within: float = 30.0, *, every: float = 0.02, what: str = "") -> T:
    """Ask `condition` every `every` seconds until it is truthy, and return what it gave.

    Raises:
        AssertionError: it was not within `within` seconds; `what` says what was waited for.

    """
    end = time.monotonic() + within
    never = threading.Event()
    while True:
        if value := condition():
            return value
        left = end - time.monotonic()
        if left <= 0:
            raise AssertionError(f"not within {within:g} s: {what or condition}; last: {value!r}")
        never.wait(min(every, left))


def free_port() -> int:
    """Reserve a loopback port for this test process and return it.

    The lock lasts until the process ends, so test processes that run side by side never get the same port, not even
    while a server that is to listen on it restarts.
    """
    _LOCKS.mkdir(mode=0o700, exist_ok=True)
    while True:
        port = _RANDOM.randrange(*PORTS)
        lock = os.open(_LOCKS / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            os.close(lock)
        else:
            return port
