"""An HTTP/1.1 client connection: one write per request, and responses bounded in time and bytes.

`http.client` and urllib3 take four times as long for this as all other parts of a call. The parser is httptools
(llhttp, Node's parser). There are no redirects, cookies or repetitions.
"""

from __future__ import annotations

import http.client
import select
import weakref
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: The largest read, in bytes.
_PIECE = 64 * 1024
#: zlib's window for both gzip and zlib, which it distinguishes by their headers.
_ANY_WINDOW = zlib.MAX_WBITS | 32


class TooLarge(http.client.HTTPException):
    """The response exceeds the limit."""


class NotHttpAnswer(http.client.HTTPException):
    """The received data is not HTTP."""


class Switched(http.client.HTTPException):
    """The response switches to another protocol (101, RFC 9110 section 15.2.2), without such a request."""


class CutOff(http.client.HTTPException):
    """The connection ended before the response did."""


class Garbled(http.client.HTTPException):
    """The body does not have the encoding that the response names."""


class Stream(Protocol):
    """A connected socket, with TLS or without."""

    def sendall(self, data: bytes, /) -> None: ...
    def recv(self, size: int, /) -> bytes: ...
    def settimeout(self, seconds: float, /) -> None: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Exchange:
    """A complete response, not yet interpreted."""

    status: int
    #: By names in lower case.
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Wire:
    """A connection for one exchange after the other, while `reusable` is true."""

    def __init__(
        self,
        stream: Stream,
        clock: Callable[[], float],
        *,
        read_timeout: float,
        max_header_bytes: int,
        max_body_bytes: int,
    ) -> None:
        """Take over `stream`. `clock` is monotonic, times are in seconds."""
        self._stream = stream
        #: Also called when the thread that owns the connection ends.
        self.close = weakref.finalize(self, stream.close)
        self._clock = clock
        self._read_timeout = read_timeout
        self._max_header_bytes = max_header_bytes
        self._max_body_bytes = max_body_bytes
        self._timeout: float | None = None
        self._poll = select.poll()
        self._poll.register(stream.fileno(), select.POLLIN)
        #: Whether another request may follow the last response.
        self.reusable = True

    @property
    def is_idle(self) -> bool:
        """Whether no unexpected data has arrived, such as the end of the connection."""
        return not self._poll.poll(0)

    def exchange(self, request: bytes, deadline: float) -> Exchange:
        """Send the whole request and read its response, by `deadline` (seconds of the clock).

        Raises:
            OSError, HTTPException: there is no complete response; the request may have been sent.

        """
        self.reusable = False
        self._wait_at_most(deadline)
        self._stream.sendall(request)
        answer = _Answer(self._max_header_bytes, self._max_body_bytes)
        while not answer.complete:
            self._wait_at_most(deadline)
            answer.feed(self._stream.recv(_PIECE))
        self.reusable = answer.keeps_alive
        return Exchange(answer.status, answer.headers, answer.body())

    def _wait_at_most(self, deadline: float) -> None:
        """Set the timeout of the next read or write."""
        timeout = min(deadline - self._clock(), self._read_timeout)
        if timeout <= 0:
            raise TimeoutError("the whole call took too long")
        # Setting the socket's timeout costs a system call, and the value rarely changes.
        if timeout != self._timeout:
            self._stream.settimeout(timeout)
            self._timeout = timeout


class _Answer:
    """The received part of a response; its methods are the parser's callbacks."""

    def __init__(self, max_header_bytes: int, max_body_bytes: int) -> None:
        self._parser = HttpResponseParser(self)
        self._header_bytes_left = max_header_bytes
        self._max_body_bytes = max_body_bytes
        self._body_bytes_left = max_body_bytes
        self._pieces: list[bytes] = []
        self._in_body = False
        self._begun = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.complete = False
        self.keeps_alive = False

    def feed(self, data: bytes) -> None:
        """Parse received data; empty data is the end of the connection."""
        if not data:
            self._end()
            return
        if not self._in_body:
            # Counted before parsing: headers, and interim responses, whose number is not limited.
            self._header_bytes_left -= len(data)
        try:
            self._parser.feed_data(data)
        except TooLarge:
            raise
        except (HttpParserError, HttpParserUpgrade) as e:
            if self.complete:
                # Data after the response is unexpected and not a response.
                self.keeps_alive = False
                return
            raise self._broken(e) from None
        if not self._in_body and self._header_bytes_left < 0:
            raise TooLarge

    def _broken(self, error: HttpParserError | HttpParserUpgrade) -> http.client.HTTPException:
        """Return the exception for the parser's error."""
        if isinstance(error, HttpParserUpgrade):
            return Switched("the answer switches to another protocol")
        if isinstance(error.__context__, TooLarge):
            return error.__context__
        return (CutOff if self._in_body else NotHttpAnswer)("the answer can't be parsed")

    def _end(self) -> None:
        has_length = "content-length" in self.headers or "transfer-encoding" in self.headers
        if self._in_body and not has_length:
            self.complete = True
        elif self._begun:
            raise CutOff
        else:
            raise http.client.RemoteDisconnected("closed without an answer")

    def on_message_begin(self) -> None:
        """Note that a response begins; an unexpected one makes the connection unusable."""
        self._begun = True
        if self.complete:
            self.keeps_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers (RFC 9110 section 6.5) are ignored."""
        if not self._in_body:
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Continue with the body if this is the expected response."""
        if self.complete:
            return
        self.status = self._parser.get_status_code()
        if self.status >= 200:
            self._in_body = True

    def on_body(self, piece: bytes) -> None:
        """Keep a piece of the body."""
        if self.complete:
            return
        self._body_bytes_left -= len(piece)
        if self._body_bytes_left < 0:
            raise TooLarge
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """Note that the response is complete; after an interim one (RFC 9110 section 15.2) the final one follows."""
        if self.complete:
            return
        if self._in_body:
            self.complete = True
            self.keeps_alive = self._parser.should_keep_alive()
        else:
            self.headers.clear()

    def body(self) -> bytes:
        """Return the body, decompressed if a gateway compressed it without being asked."""
        body = b"".join(self._pieces)
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        if encoding == "identity" or not body:
            return body
        if encoding not in {"gzip", "x-gzip", "deflate"}:
            raise Garbled
        unzip = zlib.decompressobj(_ANY_WINDOW)
        try:
            body = unzip.decompress(body, self._max_body_bytes)
        except zlib.error:
            raise Garbled from None
        if unzip.unconsumed_tail:
            raise TooLarge
        return body
