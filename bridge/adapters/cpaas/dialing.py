"""A connection to one of several addresses, within a bound for all of them."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: As `socket.setsockopt` takes them.
Options: TypeAlias = "Iterable[tuple[int, int, int | bytes]]"


class TooLong(OSError):
    """No address answered in time."""


class NoConnection(OSError):
    """No address can be connected to; the cause says why of the last one that was tried."""


def dial(
    host: str,
    port: int,
    *,
    patience: float,
    deadline: float,
    clock: Callable[[], float],
    options: Options = (),
) -> socket.socket:
    """Return a socket that is connected to the first of a host's addresses that answers.

    Each address has `patience` seconds, and all of them have until `deadline`, in seconds of the monotonic `clock`. The
    socket's timeout is what is left for TLS.

    Raises:
        TooLong, NoConnection: none answers.
        OSError: the name can't be resolved.

    """
    error: OSError = TimeoutError("no time was left")
    # The resolver has its own bound (resolv.conf), and no call can shorten it.
    for family, type_, protocol, _, address in socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM
    ):
        left = min(patience, deadline - clock())
        if left <= 0:
            break
        with contextlib.ExitStack() as undo:
            try:
                sock = undo.enter_context(socket.socket(family, type_, protocol))
                for option in options:
                    sock.setsockopt(*option)
                sock.settimeout(left)
                sock.connect(address)
                sock.settimeout(max(min(patience, deadline - clock()), 0.001))
            except OSError as failed:
                error = failed
            else:
                undo.pop_all()
                return sock
    kind = TooLong if isinstance(error, TimeoutError) else NoConnection
    raise kind("no address answers") from error
