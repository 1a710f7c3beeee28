"""API calls with the account's access token, which all threads share.

The token is renewed at half its lifetime and replaced after a 401. Times are monotonic: a step of the wall clock
neither renews a token nor keeps an expired one (wire reference 2.3).
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
    from bridge.adapters.cpaas.transport import TracedTransport, Transport
    from bridge.adapters.cpaas.wire import Exchange
    from bridge.ports import Clock

log = structlog.get_logger()

_UNAUTHORIZED = 401
#: Seconds until a failed renewal is repeated while the old token is still valid.
_RENEWAL_PAUSE = 5.0


class Tokens:
    """The access token of an account: single-flight renewal, early renewal, and replacement after a 401."""

    def __init__(self, endpoint: TokenEndpoint, clock: Clock, *, timeout: float) -> None:
        """Wait at most `timeout` seconds for another thread's token request."""
        self._endpoint = endpoint
        self._clock = clock
        self._timeout = timeout
        self._lock = threading.Lock()
        self._token: Token | None = None
        #: The access token with which an API call last succeeded.
        self.proven: str | None = None
        #: Number of token requests that have ended, and the failure of the last one, if it failed.
        self._requests = 0
        self._failure: Unsent | Blocked | None = None
        self._next_renewal = 0.0

    def current(self) -> Token:
        """Return a valid token; fetch one if necessary.

        The first thread that sees a stale token renews it, while the others continue to use it.

        Raises:
            Denied: no token can be had.

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
        """The current token, valid or not; no request is made."""
        return self._token

    def replace(self, refused: Token) -> Token:
        """Return another token than `refused`; of many threads with the same refused token, one fetches.

        Raises:
            Denied: no token can be had.

        """
        return self._replace(refused)

    def drop(self, refused: Token) -> None:
        """Drop `refused` if it is still the current token."""
        with self._lock:
            if self._is_current(refused):
                self._token = None

    def is_proven(self, token: Token) -> bool:
        """Whether the API has ever accepted `token`."""
        return self.proven == token.access

    def _replace(self, refused: Token | None) -> Token:
        requests_before = self._requests
        if not self._lock.acquire(timeout=self._timeout):
            raise Denied(Unsent(error=ProviderError(name="timeout", message="no token in time")))
        try:
            if self._token is not None and not self._is_current(refused):
                return self._token
            if self._requests != requests_before and self._failure is not None:
                # The request of another thread failed while this one waited: an immediate repetition would fail, too.
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
        """Request a token; the caller holds the lock."""
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
    """No exchange was started: none could have ended in time."""


class Caller:
    """Makes the API calls of one account; used by many threads."""

    def __init__(
        self,
        transport: Transport | TracedTransport,
        tokens: Tokens,
        clock: Clock,
        *,
        agent: str,
        longest: float,
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
        """Make one API call; `path` builds the path from the user id. A 401 renews the token and repeats the call once.

        No exchange starts that could still run at `until` (monotonic seconds).

        Raises:
            NoTime: no exchange of this call could start.
            RequestNotSent, MaybeSent: see `Transport.exchange`.
            Denied: there is no token, or the credentials are wrong; or the call `sends` while the clocks differ.

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
            raise Denied(_refused("the token was refused, and no time is left for another")) from None
        if exchange.status != _UNAUTHORIZED:
            return exchange
        raise Denied(self._judge_refusal(renewed, refused_at))

    def _judge_refusal(self, renewed: Token, refused_at: float) -> Unsent | Blocked:
        """Return the meaning of a second 401.

        If the token was issued after the first 401 and never worked, no token of this account will work. Any other
        token was revoked in between, and the next attempt fetches another one.
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
            # A cached history would lack messages sent since (RFC 9111 section 5.2.1.4).
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
    """Return the result of a call whose token the API refused."""
    return Unsent(error=ProviderError(name="oauth", message=why, http_status=_UNAUTHORIZED))
