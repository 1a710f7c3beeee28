"""The pipelined input of a connection: parsed requests, unparsed bytes behind them, and the final error.

A parsed request takes a hundred times the memory of its bytes. So only requests in one piece with the end of a body are
parsed ahead, and the socket is not read while requests wait. A body is parsed as it arrives: its blank lines look like
ends of heads, and parsing at each of them would take seconds.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from bridge.adapters.http.server.parser import Request
    from bridge.adapters.http.server.response import Response

#: The end of a head, whose first lines may lack the carriage return. A chunked body ends like this, too.
HEAD_ENDS = b"\n\r\n"
#: The largest number of a connection's requests that are started before other connections run, and that are parsed
#: ahead.
_AT_ONCE = 8
#: Seconds of rest for a connection with more than that: bytes without a response, such as a refused body that looks
#: like thousands of heads, must not delay other connections.
_REST = 0.005


class PipelineReader(Protocol):
    """The connection, as its pipeline uses it."""

    @property
    def can_parse(self) -> bool:
        """Whether no response is pending, and the client has read the previous ones."""
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
        """Start a request."""
        ...

    def parse(self, data: bytes) -> None:
        """Parse the next piece."""
        ...

    def on_advanced(self) -> None:
        """Take note that nothing more can be started now."""
        ...


class Pipeline:
    """The pipeline of one connection. Bytes are taken in pieces: the parser can't be stopped within a piece."""

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
        #: Whether anything is queued, including the error.
        self.waits = False
        #: Whether the client has closed its sending side.
        self.has_ended = False
        #: The final response, after all previous ones: the next bytes are not HTTP.
        self.error: Response | None = None

    def add_request(self, request: Request) -> None:
        """Queue a request that was parsed together with the previous one."""
        self._requests.append(request)
        self.waits = True

    def add(self, data: bytes) -> None:
        """Append bytes."""
        self._data = self._data[self._taken :] + data
        self._taken = 0
        self.waits = True

    def advance(self) -> None:
        """Start queued requests as far as possible now."""
        if self._is_advancing or self._reader is None:
            return
        reader = self._reader
        self._is_advancing = True
        left = _AT_ONCE
        while left:
            if not reader.can_parse:
                break
            is_idle = reader.is_idle
            # The rest of an incomplete request can't come after an error.
            if is_idle and self._requests and (self.error is None or self._requests[0].is_complete):
                left -= 1
                request = self._requests.popleft()
                self._count()
                reader.take_up(request)
            elif self._data:
                # An accepted body is bounded, and its pieces do not count.
                left -= is_idle
                reader.parse(self._take(reader.body_left, 1 if is_idle else _AT_ONCE))
            else:
                break
        else:
            self._loop.call_later(_REST, self.advance)
        self._is_advancing = False
        reader.on_advanced()

    def end(self, error: Response) -> None:
        """Drop the bytes, and make `error` the final response."""
        self.error = error
        self._drop_bytes()

    def drop(self) -> None:
        """Drop everything."""
        self._requests.clear()
        self._drop_bytes()

    def close(self) -> None:
        """Drop everything, and the reference to the connection, which refers back to this."""
        self.drop()
        self._reader = None

    def _take(self, body: int, heads: int) -> bytes:
        """Return the next `body` bytes; if `body` is 0, the bytes up to the end of the next `heads` heads, or all."""
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
