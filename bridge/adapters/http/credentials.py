"""What a request's head shows of who sends it and of what: the same at each door."""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING

from bridge.adapters.http.answers import problem

if TYPE_CHECKING:
    from bridge.adapters.http.answers import Answer
    from bridge.adapters.http.parsing import Request

#: RFC 9110 section 11.6.1 asks for a challenge; the operator's real scheme is not told to strangers.
UNAUTHORIZED = problem(401, {"www-authenticate": "Bearer"})
#: RFC 9110 section 15.5.16: the answer names the coding that is taken.
CODED = problem(
    415, {"accept-encoding": "identity"}, detail="the body has a Content-Encoding: send it without one"
)

MEDIA_TYPE = problem(415)

_JSON = b"application/json"
#: A quoted string (RFC 9110 section 5.6.4), or one that is not closed: looking for its end from each quote in it would
#: take the square of its length.
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.?)*"?')
#: JSON by another name (RFC 6839).
_KIND_OF_JSON = re.compile(rb"application/[^/\s]+\+json")


def refusal_of(request: Request, wanted: tuple[bytes, ...]) -> Answer | None:
    """Return what is answered to a request without a good `Authorization`, or whose body is not plain JSON."""
    if not is_authorized(request, wanted):
        return UNAUTHORIZED
    if is_coded(request):
        return CODED
    return None if is_json(request) else MEDIA_TYPE


def is_authorized(request: Request, wanted: tuple[bytes, ...]) -> bool:
    """Compare with every value that is good now, in constant time, also where no header came; none: anybody is."""
    given = request.fields.get(b"authorization", b"")
    good = [hmac.compare_digest(given, one) for one in wanted]
    return any(good) or not wanted


def is_coded(request: Request) -> bool:
    """Return whether the body is compressed, or in another coding that is not undone here (RFC 9110 section 8.4)."""
    coding = request.fields.get(b"content-encoding", b"")
    return bool(coding) and coding.lower() != b"identity"


def is_json(request: Request) -> bool:
    """Return whether a body is JSON by its content type, any of JSON's names, or has no content type.

    Several lines that say the same count as one, as proxies and clients write them; lines that differ are not JSON.
    """
    value = request.fields.get(b"content-type") or _JSON
    if b"," in value:
        # A list of lines (RFC 9110 section 5.3), or a comma in a parameter's quotes.
        types = {one.strip().lower() for one in _QUOTED.sub(b"", value).split(b",")}
        if len(types) > 1:
            return False
        value = types.pop()
    media_type = value.partition(b";")[0].strip().lower()
    return media_type == _JSON or _KIND_OF_JSON.fullmatch(media_type) is not None
