"""Tells systemd how the service is doing (sd_notify(3)); without a service manager it tells nobody."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def ready(environ: Mapping[str, str] = os.environ) -> None:
    """Say that the service runs: it serves its ports, whether or not the broker is there yet."""
    _notify("READY=1", environ)


def stopping(environ: Mapping[str, str] = os.environ) -> None:
    """Say that the service is on its way out: it takes no more and finishes what is in flight."""
    _notify("STOPPING=1", environ)


def status(line: str, environ: Mapping[str, str] = os.environ) -> None:
    """Say how the service is, for `systemctl status`; `line` has no line end."""
    _notify(f"STATUS={line}", environ)


def alive(environ: Mapping[str, str] = os.environ) -> None:
    """Feed the watchdog."""
    _notify("WATCHDOG=1", environ)


def watchdog_seconds(environ: Mapping[str, str] = os.environ) -> float | None:
    """Return within how many seconds the watchdog of this process wants to be fed each time; None where there is none.

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
    # A manager that does not listen is no reason to do worse.
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
        notifier.sendto(state.encode(), address)
