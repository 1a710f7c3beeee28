"""Connections that know when to stop and whether the request may have left.

urllib3's timeouts bound each wait for bytes, so an answer that drips outlives them; and its exceptions do not tell a
TLS error of the handshake from one that comes after the request. Both are answered here, where the bytes pass.
"""

from __future__ import annotations

import http.client
import io
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from typing_extensions import Buffer


class TooLarge(http.client.HTTPException):
    """The answer is larger than it may be."""


@dataclass(slots=True, kw_only=True)
class Watch:
    """What one call may take, and how far it came. One thread's, used for one call after another."""

    clock: Callable[[], float]
    #: Seconds without a byte.
    read_timeout: float
    max_header_bytes: int
    max_response_bytes: int
    #: Monotonic seconds at which the call ends, whatever it is doing.
    deadline: float = 0.0
    #: Whether a byte of the request may have left us.
    left: bool = False

    def start(self, deadline: float) -> None:
        """Begin a call that ends at `deadline` (monotonic seconds)."""
        self.deadline = deadline
        self.left = False

    @property
    def remaining(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - self.clock()


class _BoundedReader(io.RawIOBase):
    """A socket's bytes until the deadline, and no more of them than allowed."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, watch: Watch) -> None:
        self._raw = raw
        self._sock = sock
        self._watch = watch
        self.allowance = watch.max_header_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int | None:
        remaining = self._watch.remaining
        if remaining <= 0:
            raise TimeoutError("the whole call took too long")
        self._sock.settimeout(min(remaining, self._watch.read_timeout))
        count = cast("int | None", self._raw.readinto(buffer))
        self.allowance -= count or 0
        if self.allowance < 0:
            raise TooLarge
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedResponse(http.client.HTTPResponse):
    """An answer read through a `_BoundedReader`."""

    def __init__(self, sock: socket.socket, *args: Any, watch: Watch, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._limits = watch
        # What makefile gave keeps the socket open after its connection let go of it: wrapped, not replaced.
        self._reader = _BoundedReader(self.fp.detach(), sock, watch)
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        """Read status line and headers, then allow the body's bytes."""
        super().begin()
        self._reader.allowance = self._limits.max_response_bytes
        # urllib3 logs malformed headers together with the URL, which names a phone number.
        self.msg.defects.clear()
        self.msg.set_payload("")


if TYPE_CHECKING:
    _Base = HTTPConnection
else:
    _Base = object


class _Watched(_Base):
    """Sends a request in one write, notes when it begins to leave, and holds it back once the time is over."""

    def __init__(self, *args: Any, watch: Watch, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watch = watch
        self._outbox: list[bytes] | None = None
        self.response_class = partial(_BoundedResponse, watch=watch)  # type: ignore[assignment]

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Connect where needed, then write headers and body together: one packet, one system call."""
        if self.sock is None:
            self.connect()
        self._outbox = []
        try:
            super().request(*args, **kwargs)
            whole = b"".join(self._outbox)
        finally:
            self._outbox = None
        if self._watch.remaining <= 0:
            # Names resolve and several addresses are tried without a common timeout.
            raise ConnectTimeoutError(self, "connecting took the whole time")
        self._watch.left = True
        self.sock.sendall(whole)

    def send(self, data: Any) -> None:
        """Keep what belongs to the request; what a proxy's tunnel needs first goes out at once."""
        if self._outbox is None:
            super().send(data)
        else:
            self._outbox.append(data)


class PlainConnection(_Watched, HTTPConnection):
    """A watched connection without TLS."""


class TlsConnection(_Watched, HTTPSConnection):
    """A watched connection with TLS."""
