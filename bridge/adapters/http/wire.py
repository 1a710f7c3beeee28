"""The wire between a connection and its client: what waits on it, and how long the client has to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, TimerHandle

#: Bytes of a connection that wait here at most: requests ahead of their turn, and answers that are not read.
WAITING = 16 * 1024


class ClientWire:
    """Of one connection: its transport, bounded."""

    __slots__ = ("_deadline", "_is_reading", "_loop", "_timeout", "_transport", "is_blocked", "is_encrypted")

    def __init__(self, transport: Any, loop: AbstractEventLoop, *, timeout: float) -> None:
        """Give the client `timeout` seconds to read what is more than may wait."""
        self._transport = transport
        self._loop = loop
        self._timeout = timeout
        self._deadline: TimerHandle | None = None
        self._is_reading = True
        #: Whether the client has to read before more is written.
        self.is_blocked = False
        self.is_encrypted = transport.get_extra_info("sslcontext") is not None
        # asyncio reads 256 KiB at once (beneath TLS: see `bridge.adapters.http.tls`), and has as much and more written.
        transport.max_size = WAITING
        transport.set_write_buffer_limits(WAITING)

    def block(self) -> None:
        """Give the client its time to read."""
        self.is_blocked = True
        self._deadline = self._loop.call_later(self._timeout, self._transport.abort)

    def unblock(self) -> None:
        """Take note that it has read, or is gone."""
        self.is_blocked = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def read(self, *, wanted: bool) -> None:
        """Read on, or read nothing for now."""
        if wanted != self._is_reading:
            self._is_reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def close(self, *, unread: bool) -> None:
        """Close once all is written that was to be.

        With something `unread` on the way the client closes first. TLS waits for its good-bye.
        """
        if unread and not self.is_encrypted and not self._transport.is_closing():
            self._transport.write_eof()
            self._transport.resume_reading()
        else:
            self._transport.close()
