"""Descriptions of send errors for logs and the command line, without the provider's words, which may contain numbers.

The codes are the provider's (wire reference 8.2); the descriptions are OMA's, without the variables.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.domain.answers import ProviderError

CODES = {
    "SVC0001": "a service error occurred",
    "SVC0002": "invalid input value for a message part",
    "SVC0003": "invalid input value; only certain values are valid",
    "SVC0004": "no valid addresses provided in a message part",
    "SVC0005": "the client correlator is a duplicate",
    "SVC0006": "invalid group",
    "SVC0007": "invalid charging information",
    "SVC0008": "overlapping criteria",
    "SVC0270": "the charging operation failed",
    "SVC0280": "the message is too long",
    "SVC0283": "delivery receipts are not supported",
    "SVC1000": "the provider has no server resources for the request",
    "SVC2000": "a service error occurred",
    "SVC2001": "the provider has no server resources",
    "SVC2002": "not available",
    "SVC2003": "invalid access token",
    "SVC2004": "invalid value",
    "SVC2006": "mandatory input is missing",
    "POL0001": "a policy error occurred",
    "POL0002": "refused for privacy",
    "POL0003": "too many addresses",
    "POL0008": "charging is not supported",
    "POL0009": "sent too often",
    "POL0010": "the retention time is over",
    "POL0011": "the media type is not supported",
    "POL1009": "the account is not provisioned for this service",
    "POL1010": "the account is suspended from this service",
    "POL2000": "a policy error occurred",
    "POL9003": "the message is larger than allowed",
    # OAuth 2.0 (RFC 6749 section 5.2).
    "invalid_request": "the token request is malformed",
    "invalid_client": "unknown client or wrong credentials",
    "invalid_grant": "wrong user name or password, or an expired grant",
    "unauthorized_client": "the client may not use this grant",
    "unsupported_grant_type": "the provider does not support this grant",
    "invalid_scope": "unknown scope",
}
#: The bridge's own names of errors (the event's `error.name`).
NAMES = {
    "serviceException": "the provider reported a service error",
    "policyException": "the provider reported a policy error",
    "oauth": "the provider refused the credentials",
    "http": "a response that is not the provider's usual one",
    "network": "no complete response came over the network",
    "timeout": "no answer in time",
    "clock": "the clock differs from the provider's",
    "internal": "a bug in the bridge",
    "ambiguous": "it is not known whether the message was sent",
    "poison": "worker processes crashed during this command",
    "expired": "expires_at passed before it was sent",
}
#: Names whose messages the bridge writes itself, if they do not come from a response of the provider.
_OURS = frozenset(NAMES) - {"serviceException", "policyException", "oauth", "http"}
#: An unknown code of one of the provider's families; too short to contain a phone number.
_CODE = re.compile(r"(?:SVC|POL)[0-9]{4}", re.ASCII)


def explain(word: str) -> str | None:
    """Return a code, or the name of an error, with its meaning: ``SVC0002: invalid input value …``.

    Returns None for any other word.
    """
    if word in CODES or word in NAMES:
        return f"{word}: {CODES.get(word) or NAMES[word]}"
    if _CODE.fullmatch(word):
        return f"{word}: {NAMES['serviceException' if word.startswith('SVC') else 'policyException']}"
    return None


def describe(error: ProviderError) -> str:
    """Return the description of an error in one line, which may be logged."""
    code = shown_code(error)
    if code is not None:
        return explain(code) or code
    if error.name in _OURS and error.http_status is None:
        return error.message or NAMES[error.name]
    if error.name == "http" and error.http_status is not None:
        words = f"HTTP {error.http_status} {_phrase(error.http_status)}".rstrip()
        is_foreign = 400 <= error.http_status < 500
        return (
            f"{words}, without the provider's own error: it comes from a proxy or a gateway"
            if is_foreign
            else words
        )
    return explain(error.name) or "an error that the bridge does not know"


def fields_of(error: ProviderError) -> dict[str, str | int | None]:
    """Return the fields of an error for a log line."""
    return {"error": describe(error), "http_status": error.http_status}


def shown_code(error: ProviderError) -> str | None:
    """Return the provider's code if it is a known or well-formed one: another server may send any text."""
    return None if error.exception_id is None or explain(error.exception_id) is None else error.exception_id


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
