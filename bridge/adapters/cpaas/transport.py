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
from functools import partial
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from requests import PreparedRequest, RequestException
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.util import parse_url

from bridge.adapters.cpaas.dialing import dial
from bridge.adapters.cpaas.failures import AtProxy, describe, refused_by_proxy
from bridge.adapters.cpaas.proxying import read_proxy
from bridge.adapters.cpaas.wire import Exchange, Wire
from bridge.domain.answers import ProviderError
from bridge.domain.provider_errors import parse_http_date
from bridge.domain.reconciliation import COARSE

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from bridge.adapters.cpaas.account import CpaasAccount
    from bridge.ports import Clock


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
        self.trouble: ProviderError | None = None
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
        self.trouble = None
        if seconds > self._skew + COARSE:
            self.trouble = ProviderError(
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


class _Line(HTTPAdapter):
    """One thread's way to the provider.

    requests and urllib3 make the connection, with all they know of names, proxies, TLS and certificates; what then
    passes over it is `bridge.adapters.cpaas.wire`'s. Nothing is taken from the environment.
    """

    def __init__(self, account: CpaasAccount, clock: Callable[[], float]) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1)
        self._account = account
        self._clock = clock
        self._url = account.base_url.rstrip("/")
        self._proxy = read_proxy(account.proxy) if account.proxy else None
        self._is_secure = self._url.lower().startswith("https:")
        self._wire: Wire | None = None
        #: What stands before the path in the request line, and the headers that all requests have.
        self._prefix, self._head = "", ""
        self._used_at = clock()

    def exchange(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Exchange:
        """See `Transport.exchange`."""
        now = self._clock()
        deadline = now + self._account.total_timeout
        wire = self._open_wire(now, deadline)
        lines = [f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._head}"]
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
        self._judge_proxy(exchange)
        return exchange

    def _judge_proxy(self, exchange: Exchange) -> None:
        """Raise NotSent for a 407: the proxy's own answer, before it passes anything on (RFC 9110 section 15.5.8)."""
        if self._proxy is None or self._is_secure:
            # In a tunnel all answers are the provider's.
            return
        if exchange.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            raise RequestNotSent(refused_by_proxy(exchange.status, self._proxy.place))

    def proxy_headers(self, proxy: str) -> dict[str, str]:  # noqa: ARG002 - that of requests
        """Return what the proxy is shown; requests would write the password in Latin-1."""
        return {} if self._proxy is None else dict(self._proxy.headers)

    def hang_up(self) -> None:
        """Close the connection, if any; the next call opens a new one."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def _open_wire(self, now: float, deadline: float) -> Wire:
        """Return the connection, a new one where there is none that will still take a request."""
        wire = self._wire
        if wire is not None and now - self._used_at <= self._account.idle_timeout and wire.quiet:
            return wire
        # A connection that the other side is about to close would turn this call into an ambiguous one.
        self.hang_up()
        try:
            connection = self._connect(deadline)
        except (AtProxy, RequestException, HTTPError, HTTPException, OSError, ValueError) as error:
            raise RequestNotSent(describe(error, self._proxy.place if self._proxy else None)) from None
        account = self._account
        self._wire = wire = Wire(
            connection.sock,
            self._clock,
            read_timeout=account.read_timeout,
            max_header_bytes=account.max_header_bytes,
            max_body_bytes=account.max_response_bytes,
        )
        if self._clock() >= deadline:
            # Names resolve without a timeout of ours.
            raise RequestNotSent(ProviderError(name="timeout", message="connecting took too long"))
        return wire

    def _connect(self, deadline: float) -> Any:
        """Return a connection of urllib3's that is connected, through the proxy where there is one."""
        account, proxy = self._account, self._proxy
        request: Any = PreparedRequest()
        request.url = f"{self._url}/"
        verify: bool | str = account.ca_file or True
        proxies = None if proxy is None else {"http": proxy.url, "https": proxy.url}
        pool: Any = self.get_connection_with_tls_context(request, verify, proxies)
        # The server that the connection leads to: requests verifies no proxy that passes plain HTTP on.
        peer = request.url if proxy is None or self._is_secure else proxy.url
        self.cert_verify(pool, peer, verify, None)  # type: ignore[no-untyped-call]
        connection = pool._new_conn()  # noqa: SLF001 - urllib3 lends no connection otherwise
        connection.timeout = min(account.connect_timeout, account.total_timeout)
        connection._new_conn = partial(self._dial, connection, deadline)  # noqa: SLF001 - its bound is for one address
        connection._tunnel = partial(_at_proxy, connection._tunnel)  # noqa: SLF001 - to know whose error it is
        try:
            if proxy is not None and self._is_secure:
                pool._prepare_proxy(connection)  # noqa: SLF001 - likewise: the tunnel
            else:
                connection.connect()
        except Exception as error:
            is_the_proxys = proxy is not None and not connection.has_connected_to_proxy
            connection.close()
            if is_the_proxys:
                raise AtProxy from error
            raise
        self._set_head(pool)
        return connection

    def _dial(self, connection: Any, deadline: float) -> socket.socket:
        return dial(
            connection._dns_host,  # noqa: SLF001 - the name that urllib3 would resolve
            connection.port,
            patience=connection.timeout,
            deadline=deadline,
            clock=self._clock,
            options=connection.socket_options or (),
        )

    def _set_head(self, pool: Any) -> None:
        """Write down what all requests on a connection have in common (RFC 9112 sections 3.2 and 9.3)."""
        url = parse_url(self._url)
        forwarded = self._proxy is not None and not self._is_secure
        self._prefix = url.url if forwarded else url.path or ""
        common = {"Host": url.netloc, "Accept-Encoding": "identity"}
        if forwarded:
            common |= pool.proxy_headers
        self._head = "".join(f"{name}: {value}\r\n" for name, value in common.items())


def _at_proxy(make_tunnel: Callable[[], None]) -> None:
    try:
        make_tunnel()
    except Exception as error:
        raise AtProxy from error
