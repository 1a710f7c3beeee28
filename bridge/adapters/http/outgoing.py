"""Answers on their way to a client, which has so long to read them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, TimerHandle

    from bridge.adapters.http.answers import Answer
    from bridge.adapters.http.house import House


class Outgoing:
    """The writing half of one connection."""

    __slots__ = ("_deadline", "_house", "_loop", "_transport", "is_blocked")

    def __init__(self, transport: Any, house: House, loop: AbstractEventLoop, *, most: int) -> None:
        """`most` are the bytes that may wait here; more block it until the client has read."""
        self._transport = transport
        self._house = house
        self._loop = loop
        self._deadline: TimerHandle | None = None
        #: Whether the client has to read before more is written.
        self.is_blocked = False
        transport.set_write_buffer_limits(most)

    def write(self, answer: Answer, *, closes: bool, bodiless: bool) -> None:
        """Write an answer, unless the connection is closing."""
        if self._transport.is_closing():
            return
        date = self._house.dates.line(time.time())
        goes_on = b"" if closes else self._house.announced
        self._transport.write(answer.wire(date, goes_on=goes_on, bodiless=bodiless))

    def block(self) -> None:
        """Give the client its time to read."""
        self.is_blocked = True
        self._deadline = self._loop.call_later(self._house.write_timeout, self._transport.abort)

    def unblock(self) -> None:
        """Take note that it has read, or is gone."""
        self.is_blocked = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
