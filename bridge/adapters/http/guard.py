"""What uvicorn's httptools protocol does not limit: connections, pipelining, a head's size and time, its log.

    connection made ── head_timeout ──▶ head complete                      (else cut)
    answer written ── idle_timeout + head_timeout ──▶ next head complete   (else cut)
    more written than fits on the way ── write_timeout ──▶ the client read (else cut)

The second one also ends the client that goes on sending a body which was refused, and the one that does not read an
answer its connection was closed with. The time from a complete head to the answer is the app's own affair.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bridge.adapters.http.prompt import problem

if TYPE_CHECKING:
    from asyncio import TimerHandle, Transport

#: Bytes of request line and header fields; a webhook's are a few hundred.
MAX_HEAD = 16 * 1024
#: Bytes of a connection that wait here at most: requests ahead of their turn, and answers that are not read.
_WAITING = 16 * 1024
#: How a head ends; some of its first lines may end without a carriage return.
_HEAD_ENDS = b"\n\r\n"
#: Connections beyond the limit that are answered 503, once their requests are read. Still more are closed on.
ANSWERED_BEYOND = 100
#: Seconds after which such a client may come again.
_COME_AGAIN = 5
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
#: Seconds between two lines of uvicorn's about the same thing.
_LINES_EVERY = 60.0


class _Sparing(logging.Filter):
    """Lets through the first of uvicorn's warnings in a minute: it has one for whatever is not HTTP."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is written. What is told apart are uvicorn's own words, which are few."""
        now = time.monotonic()
        if record.levelno < logging.ERROR and now < self._told.get(record.msg, now):
            return False
        self._told[record.msg] = now + _LINES_EVERY
        return True


_SPARING = _Sparing()


class HeadTooLarge(Exception):
    """More head than is read. The parser turns it into a refusal of the connection."""


class _Flow(FlowControl):
    """uvicorn's, whose requests resume the reading as they please; `full` keeps them from it."""

    full = False

    async def drain(self) -> None:
        """Wait until the client has read what was written."""
        try:
            await super().drain()
        except asyncio.CancelledError:
            # The server stops, and this answer outlived its grace. uvicorn would write a traceback and wait again.
            self._transport.abort()

    def resume_reading(self) -> None:
        """Read on, unless what was read waits for its turn."""
        if not self.full:
            super().resume_reading()


async def _full(_scope: Any, _receive: Any, send: Any) -> None:
    """Answer for the app that there are too many connections; this one ends."""
    body = problem(503)
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"retry-after", b"%d" % _COME_AGAIN),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


class GuardedHttp(HttpToolsProtocol):
    """uvicorn's protocol, with a bounded head and one request at a time. Timeouts are in seconds.

    uvicorn parses whatever comes, and a parsed request takes a hundred times the memory of its bytes. Here bytes
    wait as bytes while a request waits for an answer to the one before, and nothing is read meanwhile.
    """

    flow: _Flow

    def __init__(
        self, *args: Any, max_connections: int, head_timeout: float, write_timeout: float, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self._served = self.app
        self._max_connections = max_connections
        self.logger.addFilter(_SPARING)  # which is there once, however often it is added
        self._head_timeout = head_timeout
        self._write_timeout = write_timeout
        self._in_head = True
        self._head_size = 0
        self._deadline: TimerHandle | None = None
        self._write_deadline: TimerHandle | None = None
        #: What was read, parsed up to `_parsed`; empty where all of it is.
        self._held = b""
        self._parsed = 0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Give the client its time for the first head, or none where there are far too many already."""
        super().connection_made(transport)
        self.flow = _Flow(transport)
        # asyncio reads 256 KiB at once, beneath TLS still; and there it would have 512 KiB written.
        transport.max_size = _WAITING  # type: ignore[attr-defined]
        transport.set_write_buffer_limits(_WAITING)
        self._expect_head(self._head_timeout)
        if len(self.connections) > self._max_connections + ANSWERED_BEYOND:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines."""
        self._disarm()
        self._disarm_write()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Give the client its time to read."""
        super().pause_writing()
        self._write_deadline = self.loop.call_later(self._write_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on; it has read."""
        self._disarm_write()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Parse at once what can't be more than one request; that is all that decent clients send."""
        if self._held or self.pipeline or data.count(_HEAD_ENDS) > 1:
            self._held = self._held[self._parsed :] + data
            self._parsed = 0
            self._parse_held()
        else:
            self._parse(data)

    def _parse_held(self) -> None:
        """Parse head by head, until a request has to wait for its turn."""
        while self._parsed < len(self._held) and not self.pipeline and not self.transport.is_closing():
            end = self._held.find(_HEAD_ENDS, self._parsed) + len(_HEAD_ENDS)
            if end < len(_HEAD_ENDS):  # there is none
                end = len(self._held)
            begin, self._parsed = self._parsed, end
            self._parse(self._held[begin:end])
        self.flow.full = self._parsed < len(self._held)
        if self.flow.full:
            self.flow.pause_reading()
        else:
            self._held = b""

    def _parse(self, data: bytes) -> None:
        """Feed the parser, which keeps to itself what it has read of an unfinished field: count that too."""
        head = self.scope
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._parse_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("Invalid HTTP request received.")
        if self._in_head and self.scope is head and not self.transport.is_closing():
            self._head_size += len(data)
            if self._head_size > MAX_HEAD:
                self.send_400_response("")

    def _parse_without_upgrade(self, rest: bytes) -> None:
        """Parse the last head again, without its upgrade, and `rest`: the parser took it for the end of HTTP.

        RFC 9110 section 7.8: who can't do the other protocol ignores the field. Java's HttpClient asks for HTTP/2.
        """
        method, version = self.scope["method"], self.scope["http_version"]
        if method == "CONNECT":  # what follows is not HTTP, and nobody is connected with here
            self.send_400_response("")
            return
        lines = [b"%b %b HTTP/%b" % (method.encode(), self.url, version.encode())]
        lines += [b"%b: %b" % field for field in self.headers if field[0] != b"upgrade"]
        # As uvicorn has it. The old one has seen the last request, where that says so, and skips what comes.
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._parse(b"\r\n".join([*lines, b"", rest]))

    def _should_upgrade(self) -> bool:
        """Keep uvicorn from making a request of a head that is parsed again."""
        return True

    def on_message_begin(self) -> None:
        """Count from nothing."""
        self._in_head, self._head_size = True, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a field, also one in the trailer of a chunked body; that is no header and counts for nothing else."""
        self._count(len(name) + len(value) + len(": \r\n"))
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Let the app have its time, if there is room for one more."""
        self._in_head = False
        self._disarm()
        self.app = self._served
        if len(self.connections) >= self._max_connections or len(self.tasks) >= self._max_connections:
            # uvicorn has such a limit, too, but its answer does not say when to come again.
            self.logger.warning("Exceeded concurrency limit.")
            self.app = _full
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Go on with what waits, or give the client its time for the next head."""
        self.flow.full = False
        super().on_response_complete()
        if self._held:
            self._parse_held()
        if self.cycle.response_complete or self.transport.is_closing():
            self._expect_head(self.timeout_keep_alive + self._head_timeout)

    def send_400_response(self, msg: str) -> None:
        """Say why the connection ends."""
        self._expect_head(self._head_timeout)
        if self._head_size <= MAX_HEAD:
            super().send_400_response(msg)
            return
        self.transport.write(_TOO_LARGE)
        self.transport.close()

    def _count(self, size: int) -> None:
        self._head_size += size
        if self._head_size > MAX_HEAD:
            raise HeadTooLarge

    def _expect_head(self, seconds: float) -> None:
        """Cut the connection after `seconds`; one that was only closed stays until all that was written is read."""
        self._disarm()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _disarm_write(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None
