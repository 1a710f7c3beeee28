"""Waiting on conditions with deadlines, and ports that nobody uses."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


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
    """Return a loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
