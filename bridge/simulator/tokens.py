"""The tokens: who gets one (wire reference 2), and which still count."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import jwt

from bridge.simulator.errors import oauth_error

if TYPE_CHECKING:
    from collections.abc import Mapping

#: No client verifies the signature (wire reference 2.2); 32 bytes keep PyJWT from warning.
_KEY = "the-simulator-signs-with-this-key"
#: The one secret or password that is refused.
WRONG = "wrong"


class IssuedTokens:
    """Issues tokens and remembers until when each is good."""

    def __init__(self) -> None:
        self._expiries: dict[str, float] = {}

    def issue(
        self, form: Mapping[str, str], *, user_id: str, dids: str, lifetime: float, now: float
    ) -> dict[str, object]:
        """Return the answer of the token endpoint. `lifetime` and `now` are in seconds.

        Raises:
            ApiError: the grant or the credentials are refused.

        """
        client_id = _checked_client(form)
        base = {"iat": int(now), "exp": int(now + lifetime), "azp": client_id, "preferred_username": user_id}
        access = _sign(base | {"realm_access": {"roles": ["smsmessaging", "notificationchannel"]}})
        self._expiries[access] = now + lifetime
        answer = {
            "access_token": access,
            "refresh_token": _sign(base),
            "expires_in": int(lifetime),
            "token_type": "bearer",
        }
        if "openid" in form.get("scope", "").split():
            answer["id_token"] = _sign(base | {"sms-did-list": dids})
        return answer

    def good(self, authorization: str, now: float) -> bool:
        """Return whether this `Authorization` header carries a token that counts at `now` (s)."""
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and self._expiries.get(token.strip(), 0.0) > now

    def revoke(self) -> int:
        """Let no token count any more; return how many did."""
        count = len(self._expiries)
        self._expiries.clear()
        return count


def parse_form(body: bytes) -> dict[str, str]:
    """Return the fields of a form, the last of each name."""
    return {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def _checked_client(form: Mapping[str, str]) -> str:
    """Return the client id of credentials that are complete and not `wrong`."""
    match form:
        case {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}:
            if secret == WRONG:
                raise oauth_error(401, "unauthorized_client", "Invalid client secret")
        case {"grant_type": "password", "client_id": client_id, "username": _, "password": password}:
            if password == WRONG:
                raise oauth_error(401, "invalid_grant", "Invalid user credentials")
        case {"grant_type": "client_credentials" | "password"}:
            raise oauth_error(400, "invalid_request", "Missing form parameter")
        case _:
            raise oauth_error(400, "unsupported_grant_type", "Unsupported grant_type")
    return client_id


def _sign(claims: dict[str, object]) -> str:
    return jwt.encode(claims | {"jti": str(uuid.uuid4())}, _KEY, algorithm="HS256")
