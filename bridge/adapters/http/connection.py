"""One client's connection: its requests are read one at a time, and answered in their order.

    connection made ── head_timeout ──▶ head complete                      (else cut)
    head complete ── body_timeout ──▶ body complete                        (else answered 408)
    answer written ── keep_alive + head_timeout ──▶ next head complete     (else closed, or cut if it has begun)
    more written than fits on the way ── write_timeout ──▶ the client read (else cut)

The third one also ends the client that goes on sending a body which was refused, and the one that does not read an
answer its connection was closed with. What comes behind such an answer is read and forgotten: to a client that still
sends, a closed socket is an error, and the answer is lost (RFC 9112 section 9.6). The time from a complete body to the
answer is the service's own affair.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from bridge.adapters.http.answers import BODY_TOO_LARGE, HEAD_TOO_LARGE, LATE, NOT_HTTP, Answer, broken
from bridge.adapters.http.held import HEAD_ENDS, Held
from bridge.adapters.http.parsing import HeadTooLarge, NotHttp, Request, RequestParser
from bridge.adapters.http.peers import peer_of
from bridge.adapters.http.wire import ClientWire

if TYPE_CHECKING:
    from bridge.adapters.http.house import House
    from bridge.adapters.http.service import Service

#: Requests of one connection that are taken up one after the other before others have their turn, and those that are
#: parsed ahead at most.
_AT_ONCE = 8
#: Seconds that one with more than that then rests: what nobody has to answer, such as a refused body that looks like
#: thousands of heads, must not take the time of others.
_REST = 0.005
_GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.Protocol):
    """A client that is served. Bytes wait as bytes while a request waits for the answer to the one before.

    A parsed request takes a hundred times the memory of its bytes. So nothing is parsed ahead but what came in one
    piece with the end of a body, and nothing is read while something waits. A body is parsed as it comes: its blank
    lines look like the ends of heads, and one piece each would take seconds.
    """

    def __init__(self, service: Service, house: House) -> None:
        self._service = service
        self._house = house
        self._loop = asyncio.get_running_loop()
        self._parser = RequestParser(self)
        self._transport: Any = None
        self._peer: str | None = None
        #: The request that is not answered yet; the same until its body is waited for; those that came with its end.
        self._current: Request | None = None
        self._begun: Request | None = None
        self._ahead: deque[Request] = deque()
        self._held = Held()
        #: Whether something is parsed or taken up right now.
        self._is_busy = False
        self._wire: Any = None
        #: Whether the next answer is the last one, and whether that was written.
        self._is_last = self._is_over = False
        #: Whether the client has said that it sends no more.
        self._is_at_end = False
        #: What is to be said, and the end, once the request that came before what is not HTTP is answered.
        self._last_word: Answer | None = None

    # --- the transport's ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the client its time for the first head, or none where there are far too many already."""
        self._transport = transport
        self._peer = peer_of(transport)
        self._wire = ClientWire(transport, self._loop, timeout=self._house.write_timeout)
        self._house.expect_head(self)
        if not self._house.enter(self, self._peer):
            self._close()

    def connection_lost(self, _: Exception | None) -> None:
        """Forget the client. A request that has not come whole counts as no HTTP."""
        self._house.leave(self)
        self._parser.close()
        self._held.drop()
        self._wire.unblock()
        self._is_over = True
        self._ahead.clear()
        request, self._current = self._current, None
        if request is not None and not request.whole:
            self._service.refused(request, NOT_HTTP.status)

    def pause_writing(self) -> None:
        """Give the client its time to read."""
        self._wire.block()

    def resume_writing(self) -> None:
        """Go on; it has read."""
        self._wire.unblock()
        self._go_on()

    def eof_received(self) -> bool:
        """Answer what has come, though nothing more will: it may be an event, or on the queue. TLS can't."""
        self._is_at_end = True
        if self._is_over or self._wire.is_encrypted:
            return False
        return bool(self._held.any or self._ahead or (self._current and self._current.whole))

    def data_received(self, data: bytes) -> None:
        """Parse at once what can't be more than one request; that is all that decent clients send."""
        if self._last_word is not None or self._is_over:
            return
        current = self._current
        is_held = self._held.any or self._ahead or self._wire.is_blocked or (current and current.whole)
        if is_held or (len(data) > self._parser.body_left and data.count(HEAD_ENDS) > 1):
            self._held.add(data)
        else:
            self._is_busy = True
            self._parse(data)
            self._is_busy = False
        if self._held.any or self._ahead:
            self._go_on()

    # --- the parser's -----------------------------------------------------------------------------------------------

    def on_request(self, request: Request) -> None:
        """Begin with a request, or have it wait for its turn."""
        request.peer = self._peer
        if self._current is None:
            self._begin(request)
        else:
            self._ahead.append(request)

    def on_too_large(self, request: Request) -> None:
        """Refuse a body that is larger than what is read."""
        self._refuse(request, BODY_TOO_LARGE)

    def on_whole(self, request: Request) -> None:
        """Hand over a request, if it is its turn."""
        if request is self._current:
            self._hand_over(request)

    # --- the house's ------------------------------------------------------------------------------------------------

    def overdue(self) -> None:
        """Give up on what did not come in time; the connection is cut, not closed: that may take for ever.

        An idle one is closed by its own side alone, and read on: a request that is on its way gets no reset.
        """
        if self._current is not None and not self._is_over:
            if not self._current.whole:  # else its time is the service's own affair
                self._refuse(self._current, LATE)
        elif self._is_over or not self._parser.is_between:
            self._transport.abort()
        else:
            self._house.expect_head(self)
            self._close(unread=True)

    def finish(self) -> None:
        """Answer what is asked, and no more."""
        self._is_last = True
        if self._current is None:
            self._close()

    def give_up(self) -> None:
        """End, with an answer to a request that still waits."""
        if self._current is not None and not self._is_over:
            self._answer(self._current, self._service.not_now)
        self._close()

    def abort(self) -> None:
        """End without a word."""
        self._transport.abort()

    # --- our own ----------------------------------------------------------------------------------------------------

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed(data)
        except HeadTooLarge:
            self._end_in_turn(HEAD_TOO_LARGE)
        except NotHttp:
            self._house.warn("http.invalid")
            self._end_in_turn(NOT_HTTP)
        if self._begun is not None:
            self._expect_body()

    def _go_on(self) -> None:
        """Take up what waits, as far as nothing has to wait for an answer or for the client to read one."""
        if self._is_busy:
            return
        self._is_busy = True
        left = _AT_ONCE
        while left:
            if self._is_over or self._wire.is_blocked or (self._current and self._current.whole):
                break
            if self._current is None and self._ahead:
                left -= 1
                self._begin(self._ahead.popleft())
                self._expect_body()
            elif self._held.any:
                # A body that is wanted is bounded, and its pieces count for nothing.
                left -= self._current is None
                self._parse(self._held.take(self._parser.body_left, _AT_ONCE if self._current else 1))
            else:
                break
        else:
            self._loop.call_later(_REST, self._go_on)
        self._is_busy = False
        if self._is_at_end and not (self._is_over or self._current or self._held.any or self._ahead):
            self._close()
        # Nothing is read while something waits.
        if not self._is_over:
            self._wire.read(wanted=not self._held.any and not self._ahead)

    def _begin(self, request: Request) -> None:
        """Look at a request's head, and then at as much of its body as there is."""
        self._current = request
        try:
            answer = self._house.begun(self) or self._service.look(request)
        except Exception as error:  # noqa: BLE001 - of whatever kind, it is told nobody
            answer = broken(error, request)
        if answer is not None:
            self._answer(request, answer)
        elif len(request.body) > self._service.max_body:
            self._refuse(request, BODY_TOO_LARGE)
        elif request.whole:
            self._hand_over(request)
        else:
            request.max_body = self._service.max_body
            self._begun = request

    def _expect_body(self) -> None:
        """Give the client its time for the rest of a body, unless all of it came with the head."""
        request, self._begun = self._begun, None
        if request is not None:
            self._house.deadlines.set(self, self._loop.time() + self._service.body_timeout)
            if request.fields.get(b"expect", b"").lower() == b"100-continue":
                self._transport.write(_GO_ON)

    def _hand_over(self, request: Request) -> None:
        self._begun = None
        try:
            self._service.handle(request, partial(self._answer, request))
        except Exception as error:  # noqa: BLE001 - likewise
            self._answer(request, broken(error, request))

    def _refuse(self, request: Request, answer: Answer) -> None:
        self._service.refused(request, answer.status)
        self._answer(request, answer)

    def _answer(self, request: Request, answer: Answer) -> None:
        """Write an answer, unless there was one or the client is gone, and go on."""
        if request is not self._current or self._is_over:
            return
        self._current = self._begun = None
        if not request.whole:
            self._parser.let_go(request)
        is_last = self._is_last or (self._is_at_end and not (self._held.any or self._ahead))
        closes = answer.closes or is_last or not request.keeps_alive
        self._write(answer, closes=closes, bodiless=request.method == "HEAD")
        seconds = self._house.head_timeout + (0 if closes else self._house.keep_alive)
        self._house.answered(self, answer, self._loop.time() + seconds)
        if closes:
            self._close(unread=not request.whole)
        elif self._last_word is not None and not (self._ahead and self._ahead[0].whole):
            self._end(self._last_word)
        elif self._held.any or self._ahead:
            # The waiting bytes may be less than a head: a client that has begun one makes room all the same.
            self._go_on()

    def _write(self, answer: Answer, *, closes: bool, bodiless: bool) -> None:
        """Write an answer, unless the connection is closing."""
        if not self._transport.is_closing():
            house = self._house
            goes_on = b"" if closes else house.announced
            date = house.dates.line(time.time())
            self._transport.write(answer.wire(date, goes_on=goes_on, bodiless=bodiless))

    def _end_in_turn(self, answer: Answer) -> None:
        """End, but not before a request that was handed over has its answer: it may be an event, or on the queue."""
        if self._current is not None and self._current.whole:
            self._last_word = answer
            self._held.drop()
        else:
            self._end(answer)

    def _end(self, answer: Answer) -> None:
        """Say why the connection ends."""
        if not self._is_over:
            self._write(answer, closes=True, bodiless=False)
            self._house.expect_head(self)
            self._close(unread=True)

    def _close(self, *, unread: bool = False) -> None:
        """Close once all is written; the deadline for the next head goes on: the client has no more time."""
        self._is_over = True
        self._held.drop()
        self._wire.close(unread=unread and not self._is_at_end)
