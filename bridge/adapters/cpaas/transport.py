"""One HTTP exchange with the provider: bounded in time and bytes, never redirected, never repeated, and dated.

It ends in an `Exchange`, or in `RequestNotSent` or `MaybeSent`: the connection is asked whether the request may have
left, since the exceptions of a reset before and after it are the same (wire reference 8.4).

Each answer's `Date` (RFC 9110 section 6.6.1) shows whether the provider's clock and ours agree. A message is found in
the provider's history by its time, among others (SPEC section 4, "Reconcile"): where the clocks differ by more than is
allowed for, it would not be found there and be sent again. So then nothing is sent.
"""

from __future__ import annotations

import math
import threading
import weakref
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bridge.adapters.cpaas.connection import CONNECT_ERRORS, Connector
from bridge.adapters.cpaas.failures import describe, refused_by_proxy
from bridge.adapters.cpaas.wire import Exchange, Wire
from bridge.domain.answers import ProviderError
from bridge.domain.provider_errors import parse_http_date
from bridge.domain.reconciliation import COARSE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.adapters.cpaas.account import CpaasAccount
    from bridge.ports import Clock, Tracer

_WRONG_FOR_PROXY = HTTPStatus.PROXY_AUTHENTICATION_REQUIRED

#: What is called for a command (wire reference 4.1). The URL itself names the account and a number.
SENDING = "/cpaas/smsmessaging/v1/{userId}/outbound/{senderAddress}/requests"


class _NoAnswer(Exception):
    """There is no whole answer; `error` says why in words that may be logged."""

    def __init__(self, error: ProviderError) -> None:
        super().__init__(error.message)
        self.error = error


class RequestNotSent(_NoAnswer):
    """Not a byte of the request left us."""


class MaybeSent(_NoAnswer):
    """The request may have left, and no whole answer came."""


class Transport:
    """Exchanges with the one host of an account; used by many threads, each with a connection of its own."""

    def __init__(self, account: CpaasAccount, clock: Clock, skew: float = math.inf) -> None:
        """`skew` is how many seconds the provider's clock and ours may differ by."""
        self._account = account
        self._clock = clock
        self._skew = skew
        #: The error of a clock, where the provider's and ours differ by too much.
        self.problem: ProviderError | None = None
        self._local = threading.local()
        self._lines: weakref.WeakSet[_Line] = weakref.WeakSet()
        self._lock = threading.Lock()

    def exchange(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Exchange:
        """Make one call and read its answer, within the account's bounds.

        `path` is percent-encoded; the body's length is added to the `headers`.

        Raises:
            NotSent: no connection, no name, TLS failed, or connecting took too long.
            MaybeSent: the request may have left, and no whole answer came.

        """
        line: _Line | None = getattr(self._local, "line", None)
        if line is None:
            line = self._new_line()
        asked_at = self._clock.now()
        exchange = line.exchange(method, path, headers, body)
        self._compare_clocks(exchange, asked_at)
        return exchange

    def _compare_clocks(self, exchange: Exchange, asked_at: float) -> None:
        """Compare: the provider's time at its answer lies between our request and now."""
        dated = parse_http_date(exchange.headers.get("date", ""))
        if dated is None:
            # No proxy or provider need send one; then nothing is known.
            return
        seconds = asked_at - dated if dated < asked_at else max(0.0, dated - self._clock.now())
        self.problem = None
        if seconds > self._skew + COARSE:
            self.problem = ProviderError(
                name="clock",
                message=f"our clock and the provider's differ by {seconds:.0f} s, reconcile.skew allows "
                f"{self._skew:g}: set ours right",
            )

    def close(self) -> None:
        """Close the connections of all threads; later calls open new ones."""
        with self._lock:
            lines = list(self._lines)
        for line in lines:
            line.hang_up()

    def _new_line(self) -> _Line:
        line = self._local.line = _Line(self._account, self._clock.monotonic)
        with self._lock:
            self._lines.add(line)
        return line


class _Line:
    """One thread's way to the provider: a connection, and a new one where that takes no request any more."""

    def __init__(self, account: CpaasAccount, clock: Callable[[], float]) -> None:
        self._account = account
        self._clock = clock
        self._connector = Connector(account, clock)
        self._wire: Wire | None = None
        self._used_at = clock()

    def exchange(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Exchange:
        """See `Transport.exchange`."""
        now = self._clock()
        deadline = now + self._account.total_timeout
        wire = self._open_wire(now, deadline)
        lines = [f"{method} {self._connector.prefix}{path} HTTP/1.1\r\n{self._connector.head}"]
        lines += [f"{name}: {value}\r\n" for name, value in headers.items()]
        if body is not None or method != "GET":
            lines.append(f"Content-Length: {len(body or b'')}\r\n")
        request = "".join(lines).encode("latin-1") + b"\r\n" + (body or b"")
        try:
            exchange = wire.exchange(request, deadline)
        except (HTTPException, OSError) as error:
            # `from None`, here and below: the text of a cause may contain the URL, and so a number.
            raise MaybeSent(describe(error)) from None
        finally:
            self._used_at = self._clock()
            if not wire.reusable:
                self.hang_up()
        location = self._connector.proxy_location
        if self._connector.is_forwarded and exchange.status == _WRONG_FOR_PROXY and location is not None:
            # The proxy's own answer, before it passes anything on (RFC 9110 section 15.5.8).
            raise RequestNotSent(refused_by_proxy(exchange.status, location))
        return exchange

    def hang_up(self) -> None:
        """Close the connection, if any; the next call opens a new one."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def _open_wire(self, now: float, deadline: float) -> Wire:
        """Return the connection, a new one where there is none that will still take a request."""
        wire = self._wire
        if wire is not None and now - self._used_at <= self._account.idle_timeout and wire.is_idle:
            return wire
        # A connection that the other side is about to close would turn this call into an ambiguous one.
        self.hang_up()
        try:
            stream = self._connector.connect(deadline)
        except CONNECT_ERRORS as error:
            raise RequestNotSent(describe(error, self._connector.proxy_location)) from None
        account = self._account
        self._wire = wire = Wire(
            stream,
            self._clock,
            read_timeout=account.read_timeout,
            max_header_bytes=account.max_header_bytes,
            max_body_bytes=account.max_response_bytes,
        )
        if self._clock() >= deadline:
            # Names resolve without a timeout of ours.
            raise RequestNotSent(ProviderError(name="timeout", message="connecting took too long"))
        return wire


class Traced:
    """Takes the place of the transport; what belongs to no trace goes through as it is."""

    def __init__(self, transport: Transport, tracer: Tracer, base_url: str) -> None:
        self._transport = transport
        self._tracer = tracer
        url = urlsplit(base_url)
        self._attributes: dict[str, str | int] = {
            "server.address": url.hostname or "",
            "server.port": url.port or (443 if url.scheme == "https" else 80),
            "url.template": SENDING,
        }

    @property
    def problem(self) -> ProviderError | None:
        """See `Transport.problem`."""
        return self._transport.problem

    def exchange(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None = None
    ) -> Exchange:
        """Send one request; see `Transport.exchange`."""
        parent = headers.get("traceparent")
        if parent is None:
            return self._transport.exchange(method, path, headers, body)
        span = self._tracer.begin(
            "client",
            f"{method} {SENDING}",
            parent=parent,
            attributes={"http.request.method": method, **self._attributes},
        )
        try:
            exchange = self._transport.exchange(
                method, path, {**headers, "traceparent": span.traceparent}, body
            )
        except Exception as error:
            span.end({}, error=type(error).__name__)
            raise
        failed = str(exchange.status) if exchange.status >= 400 else None
        span.end({"http.response.status_code": exchange.status}, error=failed)
        return exchange
