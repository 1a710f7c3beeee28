"""Names for failed connections and exchanges: the words of the events' ``error`` key. No URL, number or header."""

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

#: Exceptions and their words, the most specific first; `{whose}` is the provider's, or the proxy's.
_WORDS: tuple[tuple[type[BaseException], str, str], ...] = (
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
#: The message of `http.client` about a proxy that answers CONNECT with anything but 2xx.
_NO_TUNNEL = re.compile(r"Tunnel connection failed: ([0-9]{3})\b")


def describe(error: BaseException, proxy: str | None = None) -> ProviderError:
    """Return the error that the most specific exception behind `error` stands for.

    `proxy` is the host and port of the proxy on the way, where there is one.
    """
    causes = list(_causes(error))
    if not isinstance(error, AtProxy) or proxy is None:
        name, words = _named(causes, "the provider's")
        return ProviderError(name=name, message=words)
    for cause in causes:
        if refused := _NO_TUNNEL.match(str(cause)):
            return refused_by_proxy(int(refused[1]), proxy)
    name, words = _named(causes, "its")
    return ProviderError(name=name, message=f"the proxy {proxy} can't be used: {words}")


def refused_by_proxy(status: int, proxy: str) -> ProviderError:
    """Return the error of a proxy at `proxy`, its host and port, that answers with a status of its own."""
    wrong = status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
    words = "wants other credentials" if wrong else "makes no tunnel"
    return ProviderError(name="network", message=f"the proxy {proxy} {words} ({status})", http_status=status)


def _named(causes: list[BaseException], whose: str) -> tuple[str, str]:
    for kind, name, words in _WORDS:
        if any(isinstance(cause, kind) for cause in causes):
            return name, words.format(whose=whose)
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
