"""Parser of the provider's responses to a send: from status, headers and body to an `Answer`. It never raises.

    status    body or header                              answer (SPEC section 4)
    2xx       delivery info or a message id               Accepted
    2xx       anything else                               Ambiguous
    429                                                   Unsent, the account is throttled
    503       Retry-After, SVC1000 or SVC2001             Unsent, the account is throttled
    3xx, 401                                              Blocked
    408, 409                                              Ambiguous
    4xx       not the provider's error (a proxy's page)   Unsent for `_BEFORE_PROCESSING`, else Ambiguous; with
                                                          Retry-After the account is throttled
    4xx       POL1009, POL1010                            Blocked
    4xx       any other error of the provider             Refused
    5xx       any other, and an invalid HTTP status       Ambiguous

The first matching row applies: status first, code second, since the codes come with any status (wire reference 8.2).
"""

from __future__ import annotations

import json
import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeAlias

from bridge.domain.answers import Accepted, Ambiguous, Blocked, ProviderError, Refused, Unsent
from bridge.domain.masks import printable, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.domain.answers import Answer

#: Characters of a provider's message that are kept.
MAX_MESSAGE_LENGTH = 500
#: Characters of a message id; the longest seen has 38 (wire reference 7).
MAX_ID_LENGTH = 256
#: The maximum of a Retry-After in seconds; after it the provider is called again.
MAX_RETRY_AFTER = 3600.0

#: The members of the provider's error envelope (wire reference 8.1), which are also the names of its errors.
ENVELOPES = ("policyException", "serviceException")
#: No server resources: the request was not accepted (wire reference 8.2).
_NO_RESOURCES = frozenset({"SVC1000", "SVC2001"})
#: Not provisioned, suspended (wire reference 8.2).
_ACCOUNT = frozenset({"POL1009", "POL1010"})

#: Statuses with which a server refuses a request before it processes it, regardless of the body: the request is
#: forbidden, its path or method does not exist, or the server does not support its form (RFC 9110 section 15.5, RFC
#: 6585, RFC 7725, RFC 8470). Not 406: frameworks choose the form of a response after processing.
_BEFORE_PROCESSING = frozenset(
    {403, 404, 405, 407, 410, 411, 413, 414, 415, 417, 421, 425, 426, 428, 431, 451}
)

_Object: TypeAlias = "Mapping[str, object]"


def parse_error(status: int, body: bytes) -> ProviderError:
    """Return the error of a response, in any of the six shapes of wire reference 8.1."""
    document = _read(body)
    for holder in (_object(document, "requestError"), document):
        for name in ENVELOPES:
            if isinstance(holder.get(name), dict):
                return _exception(status, name, _object(holder, name))
    code, description = _text(document.get("error")), _text(document.get("error_description"))
    message = _text(document.get("message"))
    # Some gateways have an `error` beside their `message`.
    if code and (description or not message):
        return ProviderError(name="oauth", exception_id=_id(code), message=description, http_status=status)
    return ProviderError(name="http", message=message or _phrase(status), http_status=status)


def classify_send(status: int, *, retry_after: float | None, error: ProviderError) -> Answer:
    """Return the answer for a response to a send other than 2xx.

    `retry_after` is from `parse_retry_after`, `error` from `parse_error`. A 401 is Blocked; the caller has to try a new
    token first.
    """
    if _is_busy(status, retry_after, error):
        return Unsent(error=error, retry_after=retry_after, throttled=True)
    if 300 <= status < 400 or status == HTTPStatus.UNAUTHORIZED:
        return Blocked(error=error)
    if not 400 <= status < 500 or status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT}:
        return Ambiguous(error=error)
    if error.name not in ENVELOPES:
        # Only the provider can refuse a message permanently; this is from a proxy, a gateway or another server.
        if status in _BEFORE_PROCESSING:
            return Unsent(error=error, retry_after=retry_after, throttled=retry_after is not None)
        return Ambiguous(error=error)
    return Blocked(error=error) if error.exception_id in _ACCOUNT else Refused(error=error)


def parse_retry_after(value: str | None, *, now: float) -> float | None:
    """Return the seconds of a Retry-After header, 0 to `MAX_RETRY_AFTER`; None if it is missing or not valid.

    The value is in seconds, possibly with a fraction, or an HTTP-date in any of its spellings (RFC 9110 section
    10.2.3). A date in the past gives 0. `now` is in seconds since the epoch.
    """
    if value is None or len(value) > 100:
        return None
    if seconds_asked := re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*", value):
        return min(float(seconds_asked[1]), MAX_RETRY_AFTER)
    moment = parse_http_date(value)
    return None if moment is None else min(max(moment - now, 0.0), MAX_RETRY_AFTER)


@lru_cache(maxsize=16)  # every response has a date, which changes once a second
def parse_http_date(value: str) -> float | None:
    """Return the seconds since the epoch of an HTTP-date in any of its spellings; None for any other text."""
    try:
        moment = parsedate_to_datetime(value)
        # A date without a zone is in UTC, like all HTTP-dates.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def parse_send_response(status: int, body: bytes) -> Answer:
    """Return the answer for a 2xx response to a send (wire reference 4.1).

    A response with a message id or a delivery status is Accepted: the provider has the submission.
    """
    request = _object(_read(body), "outboundSMSMessageRequest")
    delivery = _object(request, "deliveryInfoList")
    info = _first_object(delivery.get("deliveryInfo"))
    message_id = _message_id(request.get("resourceURL")) or _message_id(delivery.get("resourceURL"))
    if not info and message_id is None:
        message = "The response has neither a message id nor a delivery status"
        return Ambiguous(error=ProviderError(name="http", message=message, http_status=status))
    return Accepted(
        message_id=message_id,
        sender_address=_id(request.get("senderAddress")),
        delivery_status=_id(info.get("deliveryStatus")),
        http_status=status,
    )


def _is_busy(status: int, retry_after: float | None, error: ProviderError) -> bool:
    """Whether the provider, or a proxy before it, was too busy to accept the request."""
    match status:
        case HTTPStatus.TOO_MANY_REQUESTS:
            return True
        case HTTPStatus.SERVICE_UNAVAILABLE:
            return retry_after is not None or error.exception_id in _NO_RESOURCES
        case _:
            return False


def _exception(status: int, name: str, detail: _Object) -> ProviderError:
    return ProviderError(
        name=name,
        exception_id=_id(detail.get("messageId")),
        message=_filled(_text(detail.get("text")), detail.get("variables")),
        http_status=status,
    )


def _filled(template: str | None, variables: object) -> str | None:
    """Replace each ``%N`` by the variable with that number, if there is one (wire reference 8.1)."""
    if template is None or not isinstance(variables, list):
        return template

    def variable(found: re.Match[str]) -> str:
        number = int(found[1])
        return (1 <= number <= len(variables) and _text(variables[number - 1])) or found[0]

    return shorten(re.sub("%([0-9]+)", variable, template), MAX_MESSAGE_LENGTH)


def _message_id(url: object) -> str | None:
    """Return the path segment after ``messages``. The rest of the URL is not reliable (wire reference 4.1)."""
    if not isinstance(url, str):
        return None
    path = url.partition("?")[0].partition("#")[0]
    return _id(path.rpartition("/messages/")[2].partition("/")[0]) if "/messages/" in path else None


def _read(body: bytes) -> _Object:
    """Return the JSON object in `body`, or an empty one.

    The parser is lenient: a duplicate key must not make an accepted submission ambiguous.
    """
    try:
        # A shortcut: JSON in UTF-8 begins with two ASCII characters, without a BOM. `json` detects other encodings.
        is_utf_8 = body[:1] == b"{" and body[1:2] != b"\0"
        document = json.loads(body.decode("utf-8", "surrogatepass") if is_utf_8 else body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _object(document: _Object, key: str) -> _Object:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _first_object(value: object) -> _Object:
    """Return the first object of an array, or an object in place of an array with one element."""
    values = value if isinstance(value, list) else [value]
    return next((entry for entry in values if isinstance(entry, dict)), {})


def _text(value: object) -> str | None:
    """Return the printable text of a value; None if it has no text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return shorten(printable(str(value)[: MAX_MESSAGE_LENGTH + 1]), MAX_MESSAGE_LENGTH).strip() or None


def _id(value: object) -> str | None:
    """Return a value as an id: complete and printable, or None."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value)
    return text if 1 <= len(text) <= MAX_ID_LENGTH and text.isprintable() else None


def _phrase(status: int) -> str | None:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return None
