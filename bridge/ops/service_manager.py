"""Notifications to systemd (sd_notify(3)). Without a service manager they do nothing."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def ready(environ: Mapping[str, str] = os.environ) -> None:
    """Report that the service runs: it serves its ports, even if the broker is not connected yet."""
    _notify("READY=1", environ)


def stopping(environ: Mapping[str, str] = os.environ) -> None:
    """Report that the service stops: it accepts no new work and finishes the work in flight."""
    _notify("STOPPING=1", environ)


def status(line: str, environ: Mapping[str, str] = os.environ) -> None:
    """Report the status line for `systemctl status`; `line` has no line end."""
    _notify(f"STATUS={line}", environ)


def alive(environ: Mapping[str, str] = os.environ) -> None:
    """Feed the watchdog."""
    _notify("WATCHDOG=1", environ)


def watchdog_seconds(environ: Mapping[str, str] = os.environ) -> float | None:
    """Return the watchdog's interval in seconds; None if this process has no watchdog.

    As sd_watchdog_enabled(3): WATCHDOG_USEC, unless WATCHDOG_PID is another process.
    """
    microseconds, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or int(microseconds) == 0 or pid not in ("", str(os.getpid())):
        return None
    return int(microseconds) / 1e6


def _notify(state: str, environ: Mapping[str, str]) -> None:
    address = environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # an abstract name begins with a zero byte
        address = "\0" + address[1:]
    # The service continues if the manager does not listen.
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
        notifier.sendto(state.encode(), address)
