"""One client's connection: its requests are read one at a time, and answered in their order.

    connection made ── head_timeout ──▶ head complete                        (else cut)
    head complete ── body_timeout ──▶ body complete                          (else answered 408)
    response written ── keep_alive + head_timeout ──▶ next head complete     (else closed, or cut if it has begun)
    more written than fits on the way ── write_timeout ──▶ the client read   (else cut)

The third one also ends the client that goes on sending a body which was refused, and the one that does not read a
response its connection was closed with. Bytes behind such a response are read and forgotten: to a client that still
sends, a closed socket is an error, and the response is lost (RFC 9112 section 9.6). The time from a complete body to
the response is the application's own affair. The states of a connection are in `bridge.adapters.http.server.state`.
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

#: Before Python 3.12 a member takes long to be looked up in its class.
_IDLE, _ACCEPTED, _CLOSING = State.IDLE, State.ACCEPTED, State.CLOSING
_HEAD, _EXPECT, _BODY, _RESPONSE = Event.HEAD, Event.EXPECT, Event.BODY, Event.RESPONSE
_RAW_RESPONSE, _STOP, _CLOSE, _LOST = Event.RAW_RESPONSE, Event.STOP, Event.CLOSE, Event.LOST

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_KEEP_ALIVE = b"connection: keep-alive\r\n"


class HttpConnection(asyncio.Protocol):
    """A client that is served."""

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
        """Give the client its time for the first head, or none where there are far too many already."""
        self._transport = transport
        self._peer = peer_of(transport)
        self._client = ClientTransport(transport, self._loop, timeout=self._registry.write_timeout)
        self._registry.expect_head(self)
        if not self._registry.add(self, self._peer):
            self._close()

    def connection_lost(self, _: Exception | None) -> None:
        """Forget the client. A request that has not come to its end counts as no HTTP."""
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
        """Give the client its time to read."""
        self._client.block()

    def resume_writing(self) -> None:
        """Go on; it has read."""
        self._client.unblock()
        self._pipeline.advance()

    def eof_received(self) -> bool:
        """Answer what has come, though nothing more will: it may be an event, or on the queue. TLS can't."""
        self._pipeline.has_ended = True
        if self._state is _CLOSING or self._client.is_encrypted or not self._application.serves_half_closed:
            return False
        return self._pipeline.waits or self._state in RESPONDS

    def data_received(self, data: bytes) -> None:
        """Parse at once what can't be more than one request; that is all that decent clients send."""
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
        """Take up a request, or have it wait for its turn."""
        request.peer = self._peer
        if self._state is _IDLE:
            self.take_up(request)
        elif self._state is not _CLOSING:
            self._pipeline.add_request(request)

    def on_too_large(self, request: Request) -> None:
        """Refuse a body that is larger than what is read."""
        self._refuse(request, BODY_TOO_LARGE)

    def on_complete(self, request: Request) -> None:
        """Hand over a request, if it is its turn."""
        if request is self._current:
            self._hand_over(request)

    # --- called by the pipeline ---------------------------------------------------------------------------------------

    @property
    def can_parse(self) -> bool:
        """Whether nothing has to wait for a response, or for the client to read one."""
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
        """Check a request's head, and then as much of its body as there is."""
        self._current = request
        self._state = TRANSITIONS[self._state, _HEAD]
        try:
            response = self._registry.on_head(self) or self._application.check_head(request)
        except Exception as error:  # noqa: BLE001 - the client is not told of any
            response = failure(error, request)
        if response is not None:
            self._respond(request, response)
        elif len(request.body) > self._application.max_body:
            self._refuse(request, BODY_TOO_LARGE)
        elif request.is_complete:
            self._hand_over(request)
        else:
            request.max_body = self._application.max_body

    def parse(self, data: bytes) -> None:
        """Parse bytes, and give the client its time for the rest of a body whose head was among them."""
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
        """Read on, unless something waits."""
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
        """Give up on what did not come in time; the connection is cut, not closed: that may take for ever.

        An idle one is closed by its own side alone, and read on: a request that is on its way gets no reset.
        """
        if self._state in RECEIVES and self._current is not None:
            self._refuse(self._current, LATE)
        elif self._state is _IDLE and self._parser.is_between:
            self._registry.expect_head(self)
            self._close(is_unconsumed=True)
        elif self._state not in RESPONDS:  # else its time is the application's own affair
            self._transport.abort()

    def finish(self) -> None:
        """Answer what is asked, and no more."""
        self._state = TRANSITIONS[self._state, _STOP]
        if self._state is _CLOSING:
            self._close()

    def give_up(self) -> None:
        """End, with a response to a request that still waits."""
        if self._current is not None:
            self._respond(self._current, self._application.unavailable)
        self._close()

    def abort(self) -> None:
        """End at once."""
        self._transport.abort()

    # --- responses ----------------------------------------------------------------------------------------------------

    def _expect_body(self) -> None:
        request = self._current
        assert request is not None  # noqa: S101 - the state says so
        self._state = TRANSITIONS[self._state, _EXPECT]
        self._registry.deadlines.set(self, self._loop.time() + self._application.body_timeout)
        if request.fields.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(_CONTINUE)

    def _hand_over(self, request: Request) -> None:
        self._state = TRANSITIONS[self._state, _BODY]
        try:
            self._application.handle(request, partial(self._respond, request))
        except Exception as error:  # noqa: BLE001 - as above
            self._respond(request, failure(error, request))

    def _refuse(self, request: Request, response: Response) -> None:
        self._application.on_refused(request, response.status)
        self._respond(request, response)

    def _respond(self, request: Request, response: Response | RawResponse) -> None:
        """Write a response, unless there was one or the client is gone, and go on."""
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
            # The waiting bytes may be less than a head: a client that has begun one makes room all the same.
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
        """End, but not before a request that was handed over has its response: it may be an event, or on the queue."""
        if self._state in RESPONDS:
            self._pipeline.end(response)
        else:
            self._end(response)

    def _end(self, response: Response) -> None:
        """Say why the connection ends."""
        if self._state is not _CLOSING:
            self._write(response, closes=True, bodiless=False)
            self._registry.expect_head(self)
            self._close(is_unconsumed=True)

    def _close(self, *, is_unconsumed: bool = False) -> None:
        """Close once all is written; the deadline for the next head goes on: the client has no more time."""
        self._state = TRANSITIONS[self._state, _CLOSE]
        self._pipeline.drop()
        self._client.close(is_unconsumed=is_unconsumed and not self._pipeline.has_ended)
