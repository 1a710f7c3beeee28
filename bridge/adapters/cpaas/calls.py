"""Calls with the account's access token: kept for all threads, renewed at half its life, replaced after a 401.

Times are monotonic: a step of the wall clock neither renews a token nor keeps a dead one (wire reference 2.3).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

from bridge.adapters.cpaas.tokens import Denied
from bridge.adapters.cpaas.transport import RequestNotSent
from bridge.domain.answers import Blocked, ProviderError, Unsent

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.cpaas.tokens import Token, TokenEndpoint
    from bridge.adapters.cpaas.transport import Traced, Transport
    from bridge.adapters.cpaas.wire import Exchange
    from bridge.ports import Clock

log = structlog.get_logger()

_UNAUTHORIZED = 401
#: Seconds until a renewal that failed is tried again while the old token still lives.
_RENEWAL_PAUSE = 5.0


class Tokens:
    """The one current token of an account."""

    def __init__(self, endpoint: TokenEndpoint, clock: Clock, *, timeout: float) -> None:
        """`timeout`: the longest wait for another thread's token request, in seconds."""
        self._endpoint = endpoint
        self._clock = clock
        self._timeout = timeout
        self._lock = threading.Lock()
        self._token: Token | None = None
        #: The access token that an API call has last been answered well with.
        self.proven: str | None = None
        #: Token requests that have ended, and how the last one failed, where it did.
        self._requests = 0
        self._failure: Unsent | Blocked | None = None
        self._next_renewal = 0.0

    def current(self) -> Token:
        """Return a live token, fetching one where there is none.

        A stale token is renewed by whoever comes first, while the others go on with it.

        Raises:
            Denied: there is none to be had.

        """
        token, now = self._token, self._clock.monotonic()
        if token is None or now >= token.expires_at:
            return self._replace(token)
        if now >= token.stale_at and now >= self._next_renewal and self._lock.acquire(blocking=False):
            try:
                return self._renew_early(token)
            finally:
                self._lock.release()
        return token

    @property
    def held(self) -> Token | None:
        """The token there is, live or not; asks nobody."""
        return self._token

    def replace(self, refused: Token) -> Token:
        """Return another token than `refused`: however many threads bring the same dead one, one fetches.

        Raises:
            Denied: there is none to be had.

        """
        return self._replace(refused)

    def drop(self, refused: Token) -> None:
        """Forget `refused`, if it is still the current one."""
        with self._lock:
            if self._is_current(refused):
                self._token = None

    def is_proven(self, token: Token) -> bool:
        """Whether the API ever took `token`."""
        return self.proven == token.access

    def _replace(self, dead: Token | None) -> Token:
        ended_before = self._requests
        if not self._lock.acquire(timeout=self._timeout):
            raise Denied(Unsent(error=ProviderError(name="timeout", message="no token in time")))
        try:
            if self._token is not None and not self._is_current(dead):
                return self._token
            if self._requests != ended_before and self._failure is not None:
                # It failed for another thread while this one waited: asking again at once helps nobody.
                raise Denied(self._failure)
            self._token = None
            return self._fetch()
        finally:
            self._lock.release()

    def _renew_early(self, token: Token) -> Token:
        if not self._is_current(token):
            return self._token or token
        try:
            return self._fetch()
        except Denied as denied:
            self._next_renewal = self._clock.monotonic() + _RENEWAL_PAUSE
            log.warning("token.renewal_failed", reason=str(denied), status=denied.answer.error.http_status)
            return token

    def _is_current(self, token: Token | None) -> bool:
        """Whether `token` is the current one, by value."""
        mine = self._token
        return mine is None if token is None else mine is not None and mine.access == token.access

    def _fetch(self) -> Token:
        """Ask for a token; the lock is held."""
        try:
            self._token = self._endpoint.fetch()
            self._failure = None
        except Denied as denied:
            self._failure = denied.answer
            raise
        finally:
            self._requests += 1
        log.debug("token.issued", lifetime=round(self._token.expires_at - self._token.issued_at))
        return self._token


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
        if sends and (problem := self._transport.problem) is not None:
            raise Denied(Blocked(error=problem))
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
