"""One HTTP exchange with the provider: bounded in time and bytes, without redirects and repetitions.

It ends in an `Exchange`, or in `RequestNotSent` or `MaybeSent`. Whether the request may have left is decided by the
connection's state, since a reset before and after it raises the same exceptions (wire reference 8.4).

Each response's `Date` (RFC 9110 section 6.6.1) shows whether the provider's clock and ours agree. A history lookup
finds a message by its time, among others (specification section 4, "Reconcile"): if the clocks differ by more than the
allowed skew, it would miss the message, and the message would be sent again. So nothing is sent then.
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

#: The path template of a send (wire reference 4.1), for traces. The actual URL names the account and a number.
SENDING = "/cpaas/smsmessaging/v1/{userId}/outbound/{senderAddress}/requests"


class _NoAnswer(Exception):
    """There is no complete response; `error` gives the reason, without secrets."""

    def __init__(self, error: ProviderError) -> None:
        super().__init__(error.message)
        self.error = error


class RequestNotSent(_NoAnswer):
    """No byte of the request was sent."""


class MaybeSent(_NoAnswer):
    """The request may have been sent, and no complete response came."""


class Transport:
    """Exchanges with the host of one account; used by many threads, each with a separate connection."""

    def __init__(self, account: CpaasAccount, clock: Clock, skew: float = math.inf) -> None:
        """`skew` is the allowed difference in seconds between the provider's clock and ours."""
        self._account = account
        self._clock = clock
        self._skew = skew
        #: The error about the clocks, if the provider's and ours differ by too much.
        self.problem: ProviderError | None = None
        self._local = threading.local()
        self._connections: weakref.WeakSet[_HostConnection] = weakref.WeakSet()
        self._lock = threading.Lock()

    def exchange(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Exchange:
        """Make one call and read its response, within the account's limits.

        `path` is percent-encoded; the body's length is added to the `headers`.

        Raises:
            RequestNotSent: no connection, no name, TLS failed, or connecting took too long.
            MaybeSent: the request may have been sent, and no complete response came.

        """
        connection: _HostConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._new_connection()
        asked_at = self._clock.now()
        exchange = connection.exchange(method, path, headers, body)
        self._compare_clocks(exchange, asked_at)
        return exchange

    def _compare_clocks(self, exchange: Exchange, asked_at: float) -> None:
        """Compare the clocks: the provider's time in its response lies between our request and now."""
        dated = parse_http_date(exchange.headers.get("date", ""))
        if dated is None:
            # A proxy or provider need not send a date; then nothing is known.
            return
        seconds = asked_at - dated if dated < asked_at else max(0.0, dated - self._clock.now())
        self.problem = None
        if seconds > self._skew + COARSE:
            self.problem = ProviderError(
                name="clock",
                message=f"our clock and the provider's differ by {seconds:.0f} s, reconcile.skew allows "
                f"{self._skew:g}: set our clock",
            )

    def close(self) -> None:
        """Close the connections of all threads; later calls open new ones."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.close()

    def _new_connection(self) -> _HostConnection:
        connection = self._local.connection = _HostConnection(self._account, self._clock.monotonic)
        with self._lock:
            self._connections.add(connection)
        return connection


class _HostConnection:
    """One thread's connection to the provider, replaced when it accepts no further request."""

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
                self.close()
        location = self._connector.proxy_location
        if self._connector.is_forwarded and exchange.status == _WRONG_FOR_PROXY and location is not None:
            # The proxy's own response, sent before it forwards anything (RFC 9110 section 15.5.8).
            raise RequestNotSent(refused_by_proxy(exchange.status, location))
        return exchange

    def close(self) -> None:
        """Close the connection, if any; the next call opens a new one."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def _open_wire(self, now: float, deadline: float) -> Wire:
        """Return the connection; a new one unless the present one accepts a request."""
        wire = self._wire
        if wire is not None and now - self._used_at <= self._account.idle_timeout and wire.is_idle:
            return wire
        # A connection that the provider is about to close would make this call ambiguous.
        self.close()
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
            # Name resolution has no timeout of ours.
            raise RequestNotSent(ProviderError(name="timeout", message="connecting took too long"))
        return wire


class TracedTransport:
    """A transport that adds a span to each request with a trace context; other requests pass unchanged."""

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
