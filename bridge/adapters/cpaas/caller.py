"""Calls with the account's token, and what a 401 leads to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from bridge.adapters.cpaas.auth import Denied
from bridge.adapters.cpaas.transport import RequestNotSent
from bridge.domain.answers import Blocked, ProviderError, Unsent

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.cpaas.auth import Token, Tokens
    from bridge.adapters.cpaas.traced import Traced
    from bridge.adapters.cpaas.transport import Transport
    from bridge.adapters.cpaas.wire import Exchange
    from bridge.ports import Clock

log = structlog.get_logger()

_UNAUTHORIZED = 401


class NoTime(RequestNotSent):
    """No call was made at all: none could have ended in time."""


class Caller:
    """Makes the API calls of one account; used by many threads."""

    def __init__(
        self, transport: Transport | Traced, tokens: Tokens, clock: Clock, *, agent: str, longest: float
    ) -> None:
        self._transport = transport
        self._tokens = tokens
        self._clock = clock
        self._agent = agent
        #: Seconds that one exchange may take.
        self._longest = longest

    def call(
        self,
        method: str,
        path: Callable[[str], str],
        *,
        body: bytes | None = None,
        traceparent: str | None = None,
        until: float | None = None,
        sends: bool = False,
    ) -> Exchange:
        """Make one API call; `path` is made from the user id. A 401 renews the token and repeats the call, once.

        No exchange starts that could still run at `until` (monotonic seconds).

        Raises:
            NoTime: not one exchange of this call could start.
            NotSent, MaybeSent: see `Transport.exchange`.
            Denied: there is no token, or the account's credentials are wrong; or it `sends`, and our clock is wrong.

        """
        token = self._token(until)
        if sends and (trouble := self._transport.trouble) is not None:
            raise Denied(Blocked(error=trouble))
        exchange = self._exchange(token, method, path, body, traceparent, until)
        if exchange.status != _UNAUTHORIZED:
            return exchange
        refused_at = self._clock.monotonic()
        try:
            self._check_time(until)
            renewed = self._tokens.replace(token)
            exchange = self._exchange(renewed, method, path, body, traceparent, until)
        except NoTime:
            raise Denied(_refused("the token was refused, and there is no time for another")) from None
        if exchange.status != _UNAUTHORIZED:
            return exchange
        raise Denied(self._judge_refusal(renewed, refused_at))

    def _judge_refusal(self, renewed: Token, refused_at: float) -> Unsent | Blocked:
        """Say what a second 401 means.

        A token issued after the first one and refused before it ever worked: no token of this account will work. Any
        other has been revoked meanwhile, and the next attempt brings another.
        """
        if renewed.issued_at >= refused_at and not self._tokens.is_proven(renewed):
            log.error("token.refused")
            return Blocked(error=ProviderError(name="oauth", message="wrong credentials", http_status=401))
        self._tokens.drop(renewed)
        return _refused("the token was revoked")

    def _token(self, until: float | None) -> Token:
        self._check_time(until)
        return self._tokens.current()

    def _exchange(
        self,
        token: Token,
        method: str,
        path: Callable[[str], str],
        body: bytes | None,
        traceparent: str | None,
        until: float | None,
    ) -> Exchange:
        self._check_time(until)
        headers = {
            "Authorization": f"Bearer {token.access}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": self._agent,
            "X-Cpaas-Agent": self._agent,
        }
        if method == "GET":
            # A history from a cache on the way would show as absent what was sent since (RFC 9111 section 5.2.1.4).
            headers["Cache-Control"] = "no-cache"
        if traceparent is not None:
            headers["traceparent"] = traceparent
        exchange = self._transport.exchange(method, path(token.user_id), headers, body)
        if 200 <= exchange.status < 300 and self._tokens.proven != token.access:
            self._tokens.proven = token.access
        return exchange

    def _check_time(self, until: float | None) -> None:
        if until is not None and self._clock.monotonic() + self._longest > until:
            raise NoTime(ProviderError(name="timeout", message="no time left for a call"))


def _refused(why: str) -> Unsent:
    """Return what a call was whose token the API refused."""
    return Unsent(error=ProviderError(name="oauth", message=why, http_status=_UNAUTHORIZED))
