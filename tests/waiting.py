"""Waiting on conditions with deadlines, and ports that nobody uses."""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: The first port for tests, and the first that is none.
PORTS = (20_000, 32_000)
#: Not what tests seed: two that do would choose the same ports.
_CHANCE = random.SystemRandom()


def wait_until(condition: Callable[[], T], within: float = 10.0, *, every: float = 0.02, what: str = "") -> T:
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
    """Return a loopback port that nothing listens on now.

    Below those that the system gives to connections (ip(7), ip_local_port_range): one of these may be such a
    connection's by the time that it is listened on.
    """
    while True:
        port = _CHANCE.randrange(*PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
