"""What a client sent ahead of its turn: parsed requests, the bytes behind them, and how they end.

A parsed request takes a hundred times the memory of its bytes. So nothing is parsed ahead but what came in one piece
with the end of a body, and nothing is read from the socket while something waits. A body is parsed as it comes: its
blank lines look like the ends of heads, and one piece each would take seconds.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from bridge.adapters.http.server.parser import Request
    from bridge.adapters.http.server.response import Response

#: How a head ends; some of its first lines may end without a carriage return. A chunked body ends so, too.
HEAD_ENDS = b"\n\r\n"
#: Requests of one connection that are taken up one after the other before others have their turn, and those that are
#: parsed ahead at most.
_AT_ONCE = 8
#: Seconds that one with more than that then rests: bytes without a response, such as a refused body that looks like
#: thousands of heads, must not take the time of others.
_REST = 0.005


class PipelineReader(Protocol):
    """The connection, as its pipeline sees it."""

    @property
    def can_parse(self) -> bool:
        """Whether nothing has to wait for a response, or for the client to read one."""
        ...

    @property
    def is_idle(self) -> bool:
        """Whether no request is unanswered."""
        ...

    @property
    def body_left(self) -> int:
        """The bytes of a declared body that are still to come."""
        ...

    def take_up(self, request: Request) -> None:
        """Begin with a request."""
        ...

    def parse(self, data: bytes) -> None:
        """Parse the next piece."""
        ...

    def on_advanced(self) -> None:
        """Take note that nothing more can be taken up now."""
        ...


class Pipeline:
    """Of one connection. Its bytes are taken piece by piece: the parser can't be stopped within a piece."""

    __slots__ = (
        "_data", "_is_advancing", "_loop", "_reader", "_requests", "_taken", "error", "has_ended", "waits",
    )  # fmt: skip

    def __init__(self, reader: PipelineReader, loop: AbstractEventLoop) -> None:
        self._reader: Any = reader
        self._loop = loop
        self._requests: deque[Request] = deque()
        self._data = b""
        self._taken = 0
        self._is_advancing = False
        #: Whether there is anything, the error included.
        self.waits = False
        #: Whether the client has said that it sends no more.
        self.has_ended = False
        #: The last response, once all before it are given: what came next is not HTTP.
        self.error: Response | None = None

    def add_request(self, request: Request) -> None:
        """Have a request wait that was parsed together with what came before it."""
        self._requests.append(request)
        self.waits = True

    def add(self, data: bytes) -> None:
        """Put bytes behind all others."""
        self._data = self._data[self._taken :] + data
        self._taken = 0
        self.waits = True

    def advance(self) -> None:
        """Take up what waits, as far as that goes now."""
        if self._is_advancing or self._reader is None:
            return
        reader = self._reader
        self._is_advancing = True
        left = _AT_ONCE
        while left:
            if not reader.can_parse:
                break
            is_idle = reader.is_idle
            # The rest of an incomplete one can't come behind an error.
            if is_idle and self._requests and (self.error is None or self._requests[0].is_complete):
                left -= 1
                request = self._requests.popleft()
                self._count()
                reader.take_up(request)
            elif self._data:
                # A body that is wanted is bounded, and its pieces count for nothing.
                left -= is_idle
                reader.parse(self._take(reader.body_left, 1 if is_idle else _AT_ONCE))
            else:
                break
        else:
            self._loop.call_later(_REST, self.advance)
        self._is_advancing = False
        reader.on_advanced()

    def end(self, error: Response) -> None:
        """Drop the bytes, and have `error` be the last response."""
        self.error = error
        self._drop_bytes()

    def drop(self) -> None:
        """Forget all."""
        self._requests.clear()
        self._drop_bytes()

    def close(self) -> None:
        """Forget all, and the connection, which holds on to this."""
        self.drop()
        self._reader = None

    def _take(self, body: int, heads: int) -> bytes:
        """Return the next `body` bytes; with a `body` of 0, what ends with the next `heads` heads, or all."""
        end = self._taken + body
        if not body:
            for _ in range(heads):
                end = self._data.find(HEAD_ENDS, end) + len(HEAD_ENDS)
                if end < len(HEAD_ENDS):
                    end = len(self._data)
                    break
        piece, self._taken = self._data[self._taken : end], end
        if end >= len(self._data):
            self._drop_bytes()
        return piece

    def _drop_bytes(self) -> None:
        self._data, self._taken = b"", 0
        self._count()

    def _count(self) -> None:
        self.waits = bool(self._requests or self._data or self.error)
