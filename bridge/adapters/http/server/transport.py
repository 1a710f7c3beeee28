"""The socket's side of a connection: the deadline for reading, closing, and raw bytes."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, TimerHandle
    from collections.abc import Callable

    from bridge.adapters.http.server.response import RawResponse

#: The largest number of bytes buffered for a connection: pipelined requests, and unread responses.
WAITING = 16 * 1024
#: l_onoff and l_linger: closing discards unsent data and sends a reset.
_NO_LINGER = struct.pack("ii", 1, 0)


class ClientTransport:
    """The transport of one connection, with limits."""

    __slots__ = ("_deadline", "_drip", "_loop", "_timeout", "_transport", "is_blocked", "is_encrypted")

    def __init__(self, transport: Any, loop: AbstractEventLoop, *, timeout: float) -> None:
        """Give the client `timeout` seconds to read once the write buffer is full."""
        self._transport = transport
        self._loop = loop
        self._timeout = timeout
        self._deadline: TimerHandle | None = None
        self._drip: TimerHandle | None = None
        #: Whether the client has to read before more is written.
        self.is_blocked = False
        self.is_encrypted = transport.get_extra_info("sslcontext") is not None
        # asyncio's defaults: it reads 256 KiB at once (for TLS see `tls`), and buffers as much or more for writing.
        transport.max_size = WAITING
        transport.set_write_buffer_limits(WAITING)

    def block(self) -> None:
        """Start the deadline for the client to read."""
        self.is_blocked = True
        self._deadline = self._loop.call_later(self._timeout, self._transport.abort)

    def unblock(self) -> None:
        """Note that the client has read."""
        self.is_blocked = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def on_lost(self) -> None:
        """Note that the client is gone."""
        self.unblock()
        if self._drip is not None:
            self._drip.cancel()
            self._drip = None

    def read(self, *, wanted: bool) -> None:
        """Resume or pause reading."""
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def close(self, *, is_unconsumed: bool) -> None:
        """Close after the buffer is written.

        If unread data is in transit, our sending side is closed first. TLS waits for the client's close_notify.
        """
        if is_unconsumed and not self.is_encrypted and not self._transport.is_closing():
            # The client may have gone since.
            with suppress(OSError):
                self._transport.write_eof()
            self._transport.resume_reading()
        else:
            self._transport.close()

    def send(self, raw: RawResponse, close: Callable[[], None]) -> None:
        """Send raw bytes at their pace, and end with a reset or by `close`."""
        if raw.resets:
            self._transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER
            )
            self._transport.abort()
            return
        self._transport.write(raw.data)
        self._send_slowly(raw.drip, raw.pace, close)

    def _send_slowly(self, rest: bytes, pace: float, close: Callable[[], None]) -> None:
        self._transport.write(rest[:1])
        if rest or (pace and self._drip is None):
            self._drip = self._loop.call_later(pace, partial(self._send_slowly, rest[1:], pace, close))
        else:
            close()
