"""Connections to the provider: name resolution, proxy, TLS and certificates.

requests and urllib3 make them; `bridge.adapters.cpaas.wire` uses them. Nothing is taken from the environment.
"""

from __future__ import annotations

import base64
import contextlib
import socket
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote_to_bytes, urlsplit

from requests import PreparedRequest, RequestException
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.util import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from bridge.adapters.cpaas.account import CpaasAccount

#: The arguments of `socket.setsockopt`.
Options: TypeAlias = "Iterable[tuple[int, int, int | bytes]]"

_PORTS = {"http": 80, "https": 443}


class TooLong(OSError):
    """No address answered in time."""


class NoConnection(OSError):
    """No address can be connected to; the cause is the error of the last one."""


class AtProxy(Exception):
    """The proxy can't be used; the cause gives the reason."""


#: The errors of `Connector.connect`.
CONNECT_ERRORS = (AtProxy, RequestException, HTTPError, HTTPException, OSError, ValueError)


class Connector(HTTPAdapter):
    """Connects to the host of one account; used by one thread."""

    def __init__(self, account: CpaasAccount, clock: Callable[[], float]) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1)
        self._account = account
        self._clock = clock
        self._url = account.base_url.rstrip("/")
        self._proxy = read_proxy(account.proxy) if account.proxy else None
        self._is_secure = self._url.lower().startswith("https:")
        #: Host and port of the proxy; None without one.
        self.proxy_location = None if self._proxy is None else self._proxy.location
        #: Whether the proxy forwards each request, and may answer it. In a tunnel each response is the provider's.
        self.is_forwarded = self._proxy is not None and not self._is_secure
        #: The text before the path in the request line, and the headers of all requests.
        self.prefix, self.head = "", ""

    def proxy_headers(self, proxy: str) -> dict[str, str]:  # noqa: ARG002 - that of requests
        """Return the headers for the proxy; requests would encode the password in Latin-1."""
        return {} if self._proxy is None else dict(self._proxy.headers)

    def connect(self, deadline: float) -> socket.socket:
        """Return a new connection, through the proxy if there is one, by `deadline` (seconds of the clock).

        Raises:
            CONNECT_ERRORS: no connection can be made.

        """
        account, proxy = self._account, self._proxy
        request: Any = PreparedRequest()
        request.url = f"{self._url}/"
        verify: bool | str = account.ca_file or True
        proxies = None if proxy is None else {"http": proxy.url, "https": proxy.url}
        pool: Any = self.get_connection_with_tls_context(request, verify, proxies)
        # The server whose certificate counts: requests verifies no proxy that forwards plain HTTP.
        peer = request.url if proxy is None or self._is_secure else proxy.url
        self.cert_verify(pool, peer, verify, None)  # type: ignore[no-untyped-call]
        connection = pool._new_conn()  # noqa: SLF001 - urllib3 has no public method that returns a connection
        connection.timeout = min(account.connect_timeout, account.total_timeout)
        connection._new_conn = partial(self._dial, connection, deadline)  # noqa: SLF001 - its timeout is per address
        connection._tunnel = partial(_at_proxy, connection._tunnel)  # noqa: SLF001 - to attribute errors to the proxy
        try:
            if proxy is not None and self._is_secure:
                pool._prepare_proxy(connection)  # noqa: SLF001 - opens the tunnel
            else:
                connection.connect()
        except Exception as error:
            is_the_proxys = proxy is not None and not connection.has_connected_to_proxy
            connection.close()
            if is_the_proxys:
                raise AtProxy from error
            raise
        self._set_head(pool)
        stream: socket.socket = connection.sock
        return stream

    def _dial(self, connection: Any, deadline: float) -> socket.socket:
        return dial(
            connection._dns_host,  # noqa: SLF001 - the name that urllib3 would resolve
            connection.port,
            timeout=connection.timeout,
            deadline=deadline,
            clock=self._clock,
            options=connection.socket_options or (),
        )

    def _set_head(self, pool: Any) -> None:
        """Set the part that all requests on a connection have in common (RFC 9112 sections 3.2 and 9.3)."""
        url = parse_url(self._url)
        self.prefix = url.url if self.is_forwarded else url.path or ""
        common = {"Host": url.netloc, "Accept-Encoding": "identity"}
        if self.is_forwarded:
            common |= pool.proxy_headers
        self.head = "".join(f"{name}: {value}\r\n" for name, value in common.items())


def _at_proxy(make_tunnel: Callable[[], None]) -> None:
    try:
        make_tunnel()
    except Exception as error:
        raise AtProxy from error


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, with its credentials separate from its address."""

    #: Scheme, host and port only.
    url: str
    #: Host and port, without credentials, for texts.
    location: str
    #: Headers of each request, or of the one that opens a tunnel.
    headers: Mapping[str, str] = field(repr=False)


def read_proxy(url: str) -> Proxy:
    """Return the proxy that `url` names: `http://[user:password@]host[:port]`.

    User and password are percent-encoded UTF-8, and are sent as such (RFC 7617 section 2.1).
    """
    parts = urlsplit(url)
    credentials, has_credentials, location = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    headers = {}
    if has_credentials:
        pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    return Proxy(f"{parts.scheme}://{location}", f"{host}:{parts.port or _PORTS[parts.scheme]}", headers)


def dial(
    host: str,
    port: int,
    *,
    timeout: float,
    deadline: float,
    clock: Callable[[], float],
    options: Options = (),
) -> socket.socket:
    """Return a socket that is connected to the first of a host's addresses that answers.

    Each address has `timeout` seconds, and all of them together have until `deadline`, in seconds of the monotonic
    `clock`. The socket's timeout is the remainder, for TLS.

    Raises:
        TooLong, NoConnection: no address answers.
        OSError: the name can't be resolved.

    """
    error: OSError = TimeoutError("no time was left")
    # The resolver has a separate timeout (resolv.conf), which a call can't shorten.
    for family, type_, protocol, _, address in socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM
    ):
        left = min(timeout, deadline - clock())
        if left <= 0:
            break
        with contextlib.ExitStack() as undo:
            try:
                sock = undo.enter_context(socket.socket(family, type_, protocol))
                for option in options:
                    sock.setsockopt(*option)
                sock.settimeout(left)
                sock.connect(address)
                sock.settimeout(max(min(timeout, deadline - clock()), 0.001))
            except OSError as failed:
                error = failed
            else:
                undo.pop_all()
                return sock
    kind = TooLong if isinstance(error, TimeoutError) else NoConnection
    raise kind("no address answers") from error
