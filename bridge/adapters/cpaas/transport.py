"""One HTTP exchange with the provider: bounded in time and bytes, never redirected, never repeated.

It ends in an `Exchange`, or in `NotSent` or `MaybeSent`: whether the request may have left is asked of the connection,
since the exceptions of a reset before and after it are the same (wire reference 8.4).
"""

from __future__ import annotations

import socket
import ssl
import threading
import weakref
from dataclasses import dataclass, field
from functools import partial
from http.client import BadStatusLine, HTTPException, IncompleteRead, LineTooLong, RemoteDisconnected
from typing import TYPE_CHECKING, Any

from requests import PreparedRequest, RequestException
from requests.adapters import HTTPAdapter
from urllib3 import Timeout
from urllib3.exceptions import (
    ConnectTimeoutError,
    DecodeError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
)

from bridge.adapters.cpaas.connections import PlainConnection, TlsConnection, TooLarge, Watch
from bridge.core.answers import ProviderError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from urllib3.connectionpool import HTTPConnectionPool

    from bridge.adapters.cpaas.account import CpaasAccount


#: What went wrong, most telling first: the words of the events' ``error`` key. No URL, no number, no header.
_WORDS: tuple[tuple[type[BaseException], str, str], ...] = (
    (TooLarge, "network", "the answer is larger than allowed"),
    (NameResolutionError, "network", "the provider's name can't be resolved"),
    (socket.gaierror, "network", "the provider's name can't be resolved"),
    (ssl.SSLCertVerificationError, "network", "the provider's certificate can't be verified"),
    (ssl.SSLError, "network", "TLS failed"),
    (ConnectionRefusedError, "network", "connection refused"),
    (ProxyError, "network", "the proxy can't be used"),
    (NewConnectionError, "network", "no connection to the provider"),
    (ConnectTimeoutError, "timeout", "connecting took too long"),
    (ReadTimeoutError, "timeout", "no answer in time"),
    (TimeoutError, "timeout", "no answer in time"),
    (RemoteDisconnected, "network", "closed without an answer"),
    (ConnectionResetError, "network", "connection reset"),
    (BrokenPipeError, "network", "connection reset"),
    (IncompleteRead, "network", "the answer is cut off"),
    (DecodeError, "network", "the answer can't be decompressed"),
    (LineTooLong, "network", "the answer's headers are too long"),
    (BadStatusLine, "network", "the answer is not HTTP"),
    (HTTPException, "network", "the answer is not valid HTTP"),
)

#: Bytes read at once.
_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Exchange:
    """An answer as it came: whole, but not judged."""

    status: int
    #: Looked up without regard to case.
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class _NoAnswer(Exception):
    """There is no whole answer; `error` says why in words that may be logged."""

    def __init__(self, error: ProviderError) -> None:
        super().__init__(error.message)
        self.error = error


class NotSent(_NoAnswer):
    """Not a byte of the request left us."""


class MaybeSent(_NoAnswer):
    """The request may have left, and no whole answer came."""


class Transport:
    """Exchanges with the one host of an account; used by many threads, each with a connection of its own."""

    def __init__(self, account: CpaasAccount, clock: Callable[[], float]) -> None:
        self._account = account
        self._clock = clock
        self._base = account.base_url.rstrip("/")
        self._local = threading.local()
        self._lines: weakref.WeakSet[_Line] = weakref.WeakSet()
        self._lock = threading.Lock()

    def exchange(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> Exchange:
        """Make one call and read its answer, within the account's bounds.

        `path` is percent-encoded; `headers` is kept as it is except for the body's length.

        Raises:
            NotSent: no connection, no name, TLS failed, or connecting took too long.
            MaybeSent: the request may have left, and no whole answer came.

        """
        line: _Line | None = getattr(self._local, "line", None)
        if line is None:
            line = self._new_line()
        return line.exchange(method, self._base + path, headers, body)

    def close(self) -> None:
        """Close the connections of all threads; later calls open new ones."""
        with self._lock:
            lines = list(self._lines)
        for line in lines:
            line.hang_up()

    def _new_line(self) -> _Line:
        line = self._local.line = _Line(self._account, self._clock)
        with self._lock:
            self._lines.add(line)
        return line


class _Line(HTTPAdapter):
    """One thread's way to the provider.

    An adapter instead of a session: nothing is taken from the environment, nothing is redirected, no cookies are kept,
    and a call costs half. urllib3's own retries stay at the adapter's default, which is none.
    """

    def __init__(self, account: CpaasAccount, clock: Callable[[], float]) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1)
        self._account = account
        self._clock = clock
        self._watch = Watch(
            clock=clock,
            read_timeout=account.read_timeout,
            max_header_bytes=account.max_header_bytes,
            max_response_bytes=account.max_response_bytes,
        )
        self._timeout: Any = Timeout(
            connect=min(account.connect_timeout, account.total_timeout), read=account.read_timeout
        )
        self._verify: bool | str = account.ca_file or True
        self._proxies = {"http": account.proxy, "https": account.proxy} if account.proxy else None
        self._pool: HTTPConnectionPool | None = None
        self._used_at = clock()

    def exchange(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> Exchange:
        """See `Transport.exchange`."""
        now = self._clock()
        if now - self._used_at > self._account.idle_timeout:
            # A connection that the other side is about to close would turn this call into an ambiguous one.
            self.hang_up()
        self._watch.start(now + self._account.total_timeout)
        request = _prepared(method, url, headers, body)
        response: Any = None
        try:
            response = self.send(
                request, stream=True, timeout=self._timeout, verify=self._verify, proxies=self._proxies
            )
            return Exchange(response.status, response.headers, self._read(response))
        except (RequestException, HTTPError, HTTPException, OSError, ValueError) as error:
            if response is not None:
                response.close()
            # `from None`: the text of the cause contains the URL, and so a number.
            raise (MaybeSent if self._watch.left else NotSent)(_describe(error)) from None
        finally:
            self._used_at = self._clock()

    def hang_up(self) -> None:
        """Close the connection, if any; the next call opens a new one."""
        self._pool = None
        self.close()

    def _read(self, response: Any) -> bytes:
        """Read the body, decompressed, up to the bound."""
        pieces = []
        size = 0
        while piece := response.read(_PIECE, decode_content=True):
            size += len(piece)
            if size > self._account.max_response_bytes:
                raise TooLarge
            pieces.append(piece)
        return b"".join(pieces)

    # What follows are requests' own points of extension.

    def get_connection_with_tls_context(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        """Return the one pool, since there is one host: looking it up costs more than any other step of a call."""
        if self._pool is None:
            pool: Any = super().get_connection_with_tls_context(request, *args, **kwargs)
            kind = TlsConnection if pool.scheme == "https" else PlainConnection
            pool.ConnectionCls = partial(kind, watch=self._watch)
            self._pool = pool
        return self._pool

    def request_url(self, request: PreparedRequest, proxies: Mapping[str, str] | None) -> str:
        """Return what goes into the request line."""
        return super().request_url(request, proxies) if proxies else request.path_url

    def build_response(self, req: PreparedRequest, resp: Any) -> Any:  # noqa: ARG002 - as requests has it
        """Return urllib3's answer bare: requests would build a cookie jar around each."""
        return resp


def _prepared(method: str, url: str, headers: dict[str, str], body: bytes | None) -> PreparedRequest:
    """Fill in a prepared request: preparing it again for each call would cost more than sending it."""
    if body is not None or method != "GET":
        headers["Content-Length"] = str(len(body or b""))
    request = PreparedRequest()
    request.method = method
    request.url = url
    request.headers = headers  # type: ignore[assignment]  # any mapping does, and a dict is quickest
    request.body = body
    return request


def _describe(error: BaseException) -> ProviderError:
    """Say what went wrong, from the most telling of the exceptions behind `error`."""
    causes = list(_causes(error))
    for kind, name, words in _WORDS:
        if any(isinstance(cause, kind) for cause in causes):
            return ProviderError(name=name, message=words)
    return ProviderError(name="network", message="the connection failed")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and the exceptions wrapped in it; urllib3 and requests keep them in `args` and `reason`."""
    pending, seen = [error], set[int]()
    while pending:
        cause = pending.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        wrapped = (*cause.args, getattr(cause, "reason", None), cause.__cause__)
        pending.extend(inner for inner in wrapped if isinstance(inner, BaseException))
