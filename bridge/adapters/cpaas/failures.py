"""Error names and messages for failed connections and exchanges (key ``error`` of events), without URLs and numbers."""

from __future__ import annotations

import re
import socket
import ssl
from http import HTTPStatus
from http.client import RemoteDisconnected
from typing import TYPE_CHECKING

from bridge.adapters.cpaas.connection import AtProxy, NoConnection, TooLong
from bridge.adapters.cpaas.wire import CutOff, Garbled, NotHttpAnswer, Switched, TooLarge
from bridge.domain.answers import ProviderError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Exceptions with the error's name and message, the most specific first; `{whose}` is the provider's or the proxy's.
_MESSAGES: tuple[tuple[type[BaseException], str, str], ...] = (
    (TooLarge, "network", "the answer is larger than allowed"),
    (socket.gaierror, "network", "{whose} name can't be resolved"),
    (ssl.SSLCertVerificationError, "network", "{whose} certificate can't be verified"),
    (ssl.SSLError, "network", "TLS failed"),
    (ConnectionRefusedError, "network", "connection refused"),
    (TooLong, "timeout", "connecting took too long"),
    (NoConnection, "network", "no connection"),
    (TimeoutError, "timeout", "no answer in time"),
    (RemoteDisconnected, "network", "closed without an answer"),
    (ConnectionResetError, "network", "connection reset"),
    (BrokenPipeError, "network", "connection reset"),
    (CutOff, "network", "the answer is cut off"),
    (Garbled, "network", "the answer can't be decompressed"),
    (NotHttpAnswer, "network", "the answer is not HTTP"),
    (Switched, "network", "the answer switches to another protocol (101)"),
)
#: The message of `http.client` if a proxy does not answer CONNECT with 2xx.
_NO_TUNNEL = re.compile(r"Tunnel connection failed: ([0-9]{3})\b")


def describe(error: BaseException, proxy: str | None = None) -> ProviderError:
    """Return the error for the most specific exception behind `error`.

    `proxy` is the proxy's host and port, if there is one.
    """
    causes = list(_causes(error))
    if not isinstance(error, AtProxy) or proxy is None:
        name, message = _named(causes, "the provider's")
        return ProviderError(name=name, message=message)
    for cause in causes:
        if refused := _NO_TUNNEL.match(str(cause)):
            return refused_by_proxy(int(refused[1]), proxy)
    name, message = _named(causes, "its")
    return ProviderError(name=name, message=f"the proxy {proxy} can't be used: {message}")


def refused_by_proxy(status: int, proxy: str) -> ProviderError:
    """Return the error for a response that the proxy itself sent; `proxy` is its host and port."""
    wrong = status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
    message = "wants other credentials" if wrong else "does not open a tunnel"
    return ProviderError(
        name="network", message=f"the proxy {proxy} {message} ({status})", http_status=status
    )


def _named(causes: list[BaseException], whose: str) -> tuple[str, str]:
    for kind, name, message in _MESSAGES:
        if any(isinstance(cause, kind) for cause in causes):
            return name, message.format(whose=whose)
    return "network", "the connection failed"


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
