"""One client's connection: requests are read one at a time and answered in order.

    connection made ── head_timeout ──▶ head complete                          (else aborted)
    head complete ── body_timeout ──▶ body complete                            (else answered 408)
    response written ── keep_alive + head_timeout ──▶ next head complete       (else closed, or aborted if it has begun)
    write buffer full ── write_timeout ──▶ the client has read                 (else aborted)

The third deadline also applies to a client that continues to send a refused body, and to one that does not read the
last response. Bytes after such a response are read and dropped: a client that still sends would get a reset from a
closed socket and lose the response (RFC 9112 section 9.6). The application limits the time from a complete body to the
response. The states of a connection are in `bridge.adapters.http.server.state`.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from bridge.adapters.http.server.parser import HeadTooLarge, NotHttp, RequestParser
from bridge.adapters.http.server.peers import peer_of
from bridge.adapters.http.server.pipeline import HEAD_ENDS, Pipeline
from bridge.adapters.http.server.response import (
    BODY_TOO_LARGE,
    HEAD_TOO_LARGE,
    LATE,
    NOT_HTTP,
    RawResponse,
    Response,
    failure,
)
from bridge.adapters.http.server.state import PARSES, RECEIVES, RESPONDS, TRANSITIONS, Event, State
from bridge.adapters.http.server.transport import ClientTransport

if TYPE_CHECKING:
    from bridge.adapters.http.server.application import Application
    from bridge.adapters.http.server.parser import Request
    from bridge.adapters.http.server.registry import ConnectionRegistry

#: Before Python 3.12 looking up a member in its class is slow.
_IDLE, _ACCEPTED, _CLOSING = State.IDLE, State.ACCEPTED, State.CLOSING
_HEAD, _EXPECT, _BODY, _RESPONSE = Event.HEAD, Event.EXPECT, Event.BODY, Event.RESPONSE
_RAW_RESPONSE, _STOP, _CLOSE, _LOST = Event.RAW_RESPONSE, Event.STOP, Event.CLOSE, Event.LOST

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_KEEP_ALIVE = b"connection: keep-alive\r\n"


class HttpConnection(asyncio.Protocol):
    """The connection of one client."""

    def __init__(self, application: Application, registry: ConnectionRegistry) -> None:
        self._application = application
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self._parser = RequestParser(self)
        self._pipeline = Pipeline(self, self._loop)
        self._state = _IDLE
        #: The request that is not answered yet, or was answered with raw bytes.
        self._current: Request | None = None
        self._transport: Any = None
        self._client: Any = None
        self._peer: str | None = None

    # --- called by the transport --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the deadline of the first head; refuse the connection if there are far too many."""
        self._transport = transport
        self._peer = peer_of(transport)
        self._client = ClientTransport(transport, self._loop, timeout=self._registry.write_timeout)
        self._registry.expect_head(self)
        if not self._registry.add(self, self._peer):
            self._close()

    def connection_lost(self, _: Exception | None) -> None:
        """Remove the connection. An unfinished request counts as an invalid one."""
        self._state = TRANSITIONS[self._state, _LOST]
        self._registry.remove(self)
        self._parser.close()
        self._pipeline.close()
        self._client.on_lost()
        request, self._current = self._current, None
        if request is not None:
            if request.is_complete:
                self._application.on_abandoned(request)
            else:
                self._application.on_refused(request, NOT_HTTP.status)

    def pause_writing(self) -> None:
        """Start the deadline for the client to read."""
        self._client.block()

    def resume_writing(self) -> None:
        """Continue after the client has read."""
        self._client.unblock()
        self._pipeline.advance()

    def eof_received(self) -> bool:
        """Answer requests that are complete: they may already be published. TLS can't close one side only."""
        self._pipeline.has_ended = True
        if self._state is _CLOSING or self._client.is_encrypted or not self._application.serves_half_closed:
            return False
        return self._pipeline.waits or self._state in RESPONDS

    def data_received(self, data: bytes) -> None:
        """Parse data that can't be more than one request immediately: well-behaved clients send nothing else."""
        pipeline = self._pipeline
        if self._state is _CLOSING or pipeline.error is not None:
            return
        is_next = not (pipeline.waits or self._client.is_blocked) and self._state in PARSES
        if is_next and (len(data) <= self._parser.body_left or data.count(HEAD_ENDS) <= 1):
            self.parse(data)
        else:
            pipeline.add(data)
        if pipeline.waits:
            pipeline.advance()

    # --- called by the parser -----------------------------------------------------------------------------------------

    def on_request(self, request: Request) -> None:
        """Start a request, or queue it."""
        request.peer = self._peer
        if self._state is _IDLE:
            self.take_up(request)
        elif self._state is not _CLOSING:
            self._pipeline.add_request(request)

    def on_too_large(self, request: Request) -> None:
        """Refuse a body that exceeds the limit."""
        self._refuse(request, BODY_TOO_LARGE)

    def on_complete(self, request: Request) -> None:
        """Pass a request to the application, if it is the current one."""
        if request is self._current:
            self._submit(request)

    # --- called by the pipeline ---------------------------------------------------------------------------------------

    @property
    def can_parse(self) -> bool:
        """Whether no response is pending, and the client has read the previous ones."""
        return self._state in PARSES and not self._client.is_blocked

    @property
    def is_idle(self) -> bool:
        """Whether no request is unanswered."""
        return self._state is _IDLE

    @property
    def body_left(self) -> int:
        """The bytes of a declared body that are still to come."""
        return self._parser.body_left

    def take_up(self, request: Request) -> None:
        """Check a request's head, and then the part of its body that has arrived."""
        self._current = request
        self._state = TRANSITIONS[self._state, _HEAD]
        try:
            response = self._registry.on_head(self) or self._application.check_head(request)
        except Exception as error:  # noqa: BLE001 - the client gets no details
            response = failure(error, request)
        if response is not None:
            self._respond(request, response)
        elif len(request.body) > self._application.max_body:
            self._refuse(request, BODY_TOO_LARGE)
        elif request.is_complete:
            self._submit(request)
        else:
            request.max_body = self._application.max_body

    def parse(self, data: bytes) -> None:
        """Parse bytes, and start the body's deadline if its head was among them."""
        try:
            self._parser.feed(data)
        except HeadTooLarge:
            self._end_in_order(HEAD_TOO_LARGE)
        except NotHttp:
            self._registry.warn("http.invalid")
            self._end_in_order(NOT_HTTP)
        if self._state is _ACCEPTED:
            self._expect_body()

    def on_advanced(self) -> None:
        """Continue to read, unless something is pending."""
        pipeline = self._pipeline
        if self._state is _ACCEPTED:  # it was parsed ahead
            self._expect_body()
        if self._state is _IDLE and pipeline.error is not None:
            self._end(pipeline.error)
        elif self._state is _IDLE and pipeline.has_ended and not pipeline.waits:
            self._close()
        elif self._state is not _CLOSING:
            self._client.read(wanted=not pipeline.waits)

    # --- called by the registry ---------------------------------------------------------------------------------------

    def on_deadline(self) -> None:
        """End a connection that missed its deadline; it is aborted, since closing may take for ever.

        An idle connection is closed on our side only and still read, so that a request in transit gets no reset.
        """
        if self._state in RECEIVES and self._current is not None:
            self._refuse(self._current, LATE)
        elif self._state is _IDLE and self._parser.is_between:
            self._registry.expect_head(self)
            self._close(is_unconsumed=True)
        elif self._state not in RESPONDS:  # otherwise the application limits the time
            self._transport.abort()

    def finish(self) -> None:
        """Answer the pending requests, then end."""
        self._state = TRANSITIONS[self._state, _STOP]
        if self._state is _CLOSING:
            self._close()

    def give_up(self) -> None:
        """End, with a response to a pending request."""
        if self._current is not None:
            self._respond(self._current, self._application.unavailable)
        self._close()

    def abort(self) -> None:
        """End immediately."""
        self._transport.abort()

    # --- responses ----------------------------------------------------------------------------------------------------

    def _expect_body(self) -> None:
        request = self._current
        assert request is not None  # noqa: S101 - the state says so
        self._state = TRANSITIONS[self._state, _EXPECT]
        self._registry.deadlines.set(self, self._loop.time() + self._application.body_timeout)
        if request.fields.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(_CONTINUE)

    def _submit(self, request: Request) -> None:
        self._state = TRANSITIONS[self._state, _BODY]
        try:
            self._application.handle(request, partial(self._respond, request))
        except Exception as error:  # noqa: BLE001 - as above
            self._respond(request, failure(error, request))

    def _refuse(self, request: Request, response: Response) -> None:
        self._application.on_refused(request, response.status)
        self._respond(request, response)

    def _respond(self, request: Request, response: Response | RawResponse) -> None:
        """Write a response and continue, unless the request was answered or the client is gone."""
        following = TRANSITIONS.get((self._state, _RESPONSE))
        if request is not self._current or following is None:
            return
        if isinstance(response, RawResponse):
            self._state = TRANSITIONS[self._state, _RAW_RESPONSE]
            self._client.send(response, self._close)
            return
        self._current, self._state = None, following
        if not request.is_complete:
            self._parser.discard(request)
        pipeline = self._pipeline
        is_last = following is _CLOSING or (pipeline.has_ended and not pipeline.waits)
        closes = response.closes or is_last or not request.keeps_alive
        self._write(response, closes=closes, bodiless=request.method == "HEAD")
        self._registry.on_response(self, response, self._loop.time(), closes=closes)
        if closes:
            self._close(is_unconsumed=not request.is_complete)
        elif pipeline.waits:
            # The remaining bytes may be less than a head: the client may still be evicted then.
            pipeline.advance()

    def _write(self, response: Response, *, closes: bool, bodiless: bool) -> None:
        """Write a response, unless the connection is closing."""
        if not self._transport.is_closing():
            registry = self._registry
            date = registry.dates.line(time.time())
            persistence = b""
            if not closes:
                persistence = registry.persistence if response.keep_alive is None else _KEEP_ALIVE
            self._transport.write(response.encode(date, persistence=persistence, bodiless=bodiless))

    def _end_in_order(self, response: Response) -> None:
        """End after the request that the application has was answered: it may already be published."""
        if self._state in RESPONDS:
            self._pipeline.end(response)
        else:
            self._end(response)

    def _end(self, response: Response) -> None:
        """Write the response with the reason for the end."""
        if self._state is not _CLOSING:
            self._write(response, closes=True, bodiless=False)
            self._registry.expect_head(self)
            self._close(is_unconsumed=True)

    def _close(self, *, is_unconsumed: bool = False) -> None:
        """Close once everything is written; the deadline of the next head still applies to the client."""
        self._state = TRANSITIONS[self._state, _CLOSE]
        self._pipeline.drop()
        self._client.close(is_unconsumed=is_unconsumed and not self._pipeline.has_ended)
