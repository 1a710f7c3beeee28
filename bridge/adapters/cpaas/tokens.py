"""Requests to the provider's token endpoint (wire reference 2)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from bridge.adapters.cpaas.codec import TOKEN_PATH, json_object
from bridge.adapters.cpaas.transport import MaybeSent, RequestNotSent
from bridge.domain.answers import Blocked, ProviderError, Unsent
from bridge.domain.provider_errors import parse_error, parse_retry_after

if TYPE_CHECKING:
    from bridge.adapters.cpaas.account import CpaasAccount
    from bridge.adapters.cpaas.transport import Transport
    from bridge.adapters.cpaas.wire import Exchange
    from bridge.ports import Clock

#: The token endpoint's error codes for credentials that are wrong permanently (RFC 6749 section 5.2).
_WRONG = frozenset(
    {
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)
#: A token's lifetime in seconds if the response does not contain it.
_DEFAULT_LIFETIME = 600.0
#: The characters of a token in a header (RFC 6750 section 2.1, widened to visible ASCII).
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """An access token and its user. Times are monotonic seconds."""

    access: str = field(repr=False)
    #: ``preferred_username`` of the id token: the user id in every path.
    user_id: str
    issued_at: float
    #: The time from which it is renewed, though still valid.
    stale_at: float
    expires_at: float
    #: ``sms-did-list``: the numbers that may send (wire reference 2.2); None if the id token has no list.
    numbers: frozenset[str] | None = field(default=None, repr=False)


class Denied(Exception):
    """There is no token; `answer` is the result for the call that needed it."""

    def __init__(self, answer: Unsent | Blocked) -> None:
        super().__init__(answer.error.message)
        self.answer = answer


class TokenEndpoint:
    """Requests tokens with the account's credentials."""

    def __init__(self, account: CpaasAccount, transport: Transport, clock: Clock, agent: str) -> None:
        self._form = urlencode(_grant(account)).encode()
        self._transport = transport
        self._clock = clock
        self._agent = agent

    def fetch(self) -> Token:
        """Return a new token.

        Raises:
            Denied: no token can be had.

        """
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
            "User-Agent": self._agent,
            "X-Cpaas-Agent": self._agent,
        }
        try:
            exchange = self._transport.exchange("POST", TOKEN_PATH, headers, self._form)
        except (RequestNotSent, MaybeSent) as error:
            # Regardless of the token request's result, no message was submitted.
            raise Denied(Unsent(error=error.error)) from None
        if exchange.status != 200:
            raise Denied(_denial(exchange, self._clock))
        token = _read_token(exchange.body, self._clock.monotonic())
        if token is None:
            unusable = ProviderError(
                name="oauth", message="the token response can't be used", http_status=200
            )
            raise Denied(Unsent(error=unusable))
        return token


def _grant(account: CpaasAccount) -> dict[str, str]:
    """Return the form of the token request (wire reference 2.1)."""
    if account.client_secret is not None:
        grant = {"client_secret": account.client_secret, "grant_type": "client_credentials"}
    else:
        grant = {
            "username": account.email or "",
            "password": account.password or "",
            "grant_type": "password",
        }
    # Without this scope the response has no id token, and so no user id.
    return {"client_id": account.client_id, **grant, "scope": "openid"}


def _denial(exchange: Exchange, clock: Clock) -> Unsent | Blocked:
    """Return the meaning of a token endpoint's response without a token."""
    error = parse_error(exchange.status, exchange.body)
    if 300 <= exchange.status < 400:
        return Blocked(error=error)
    if exchange.status in {400, 401} and error.exception_id in _WRONG:
        return Blocked(error=error)
    if exchange.status == 401 and json_object(exchange.body) is not None:
        return Blocked(error=error)
    retry_after = parse_retry_after(exchange.headers.get("retry-after"), now=clock.now())
    return Unsent(error=error, retry_after=retry_after, throttled=exchange.status == 429)


def _read_token(body: bytes, now: float) -> Token | None:
    """Read the token endpoint's response (wire reference 2.2); None if a needed part is missing."""
    answer = json_object(body) or {}
    access, identity = answer.get("access_token"), _claims(answer.get("id_token"))
    user_id = identity.get("preferred_username")
    if not (
        isinstance(access, str) and _HEADER_SAFE.fullmatch(access) and isinstance(user_id, str) and user_id
    ):
        return None
    lifetime = _lifetime(_claims(access), answer.get("expires_in"))
    return Token(
        access=access,
        user_id=user_id,
        issued_at=now,
        stale_at=now + lifetime / 2,
        expires_at=now + lifetime,
        numbers=_numbers(identity.get("sms-did-list")),
    )


def _numbers(listed: object) -> frozenset[str] | None:
    if not isinstance(listed, str):
        return None
    return frozenset(stripped for number in listed.split(",") if (stripped := number.strip()))


def _lifetime(claims: dict[str, object], expires_in: object) -> float:
    """Return the token's lifetime in seconds: a duration, since the provider's clock differs from ours."""
    expires, issued = _number(claims.get("exp")), _number(claims.get("iat"))
    if expires is not None and issued is not None and expires > issued:
        return expires - issued
    return _number(expires_in) or _DEFAULT_LIFETIME


def _number(value: object) -> float | None:
    """Return a positive finite number, also from a string; else None."""
    try:
        number = float(value)  # type: ignore[arg-type]  # the error of another value is caught
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 < number < 1e12 else None


def _claims(token: object) -> dict[str, object]:
    """Return a JWT's claims. The signature need not be verified: the token came over TLS from its issuer."""
    import jwt  # takes longer to import than everything else here

    if not isinstance(token, str):
        return {}
    try:
        claims: dict[str, object] = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return {}
    return claims
