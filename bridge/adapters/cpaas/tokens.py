"""The access token as the provider's token endpoint gives it (wire reference 2)."""

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

#: What the token endpoint says of credentials that will not become right by asking again (RFC 6749 section 5.2).
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
#: Seconds a token is taken to live when it does not say.
_DEFAULT_LIFETIME = 600.0
#: What may stand in a header (RFC 6750 section 2.1, widened to visible ASCII).
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """An access token and whose it is. Times are monotonic seconds."""

    access: str = field(repr=False)
    #: ``preferred_username`` of the id token: the user id in every path.
    user_id: str
    issued_at: float
    #: From here on it is renewed, though it still works.
    stale_at: float
    expires_at: float
    #: ``sms-did-list``: the numbers that may send (wire reference 2.2); None where the id token does not say.
    numbers: frozenset[str] | None = field(default=None, repr=False)


class Denied(Exception):
    """There is no token: `answer` says what that means for whatever needed it."""

    def __init__(self, answer: Unsent | Blocked) -> None:
        super().__init__(answer.error.message)
        self.answer = answer


class TokenEndpoint:
    """Gives tokens for the account's credentials."""

    def __init__(self, account: CpaasAccount, transport: Transport, clock: Clock, agent: str) -> None:
        self._form = urlencode(_grant(account)).encode()
        self._transport = transport
        self._clock = clock
        self._agent = agent

    def fetch(self) -> Token:
        """Return a new token.

        Raises:
            Denied: there is none to be had.

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
            # Whatever became of the token request: no message was submitted.
            raise Denied(Unsent(error=error.error)) from None
        if exchange.status != 200:
            raise Denied(_denial(exchange, self._clock))
        token = _read_token(exchange.body, self._clock.monotonic())
        if token is None:
            unusable = ProviderError(name="oauth", message="the token answer can't be used", http_status=200)
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
    # Without this scope there is no id token, and so no user id.
    return {"client_id": account.client_id, **grant, "scope": "openid"}


def _denial(exchange: Exchange, clock: Clock) -> Unsent | Blocked:
    """Judge an answer of the token endpoint that brings no token."""
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
    """Read the token endpoint's answer (wire reference 2.2); None where something that is needed is missing."""
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
    """Return the token's life in seconds: a duration, since the provider's clock is not ours."""
    expires, issued = _number(claims.get("exp")), _number(claims.get("iat"))
    if expires is not None and issued is not None and expires > issued:
        return expires - issued
    return _number(expires_in) or _DEFAULT_LIFETIME


def _number(value: object) -> float | None:
    """Return a positive finite number, also one written as a string; else None."""
    try:
        number = float(value)  # type: ignore[arg-type]  # what is no number is caught
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 < number < 1e12 else None


def _claims(token: object) -> dict[str, object]:
    """Return a JWT's claims. Nobody verifies the signature: it came over TLS from the one who would sign it."""
    import jwt  # takes longer to import than everything else here

    if not isinstance(token, str):
        return {}
    try:
        claims: dict[str, object] = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return {}
    return claims
