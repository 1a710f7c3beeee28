"""What a request's head shows of who sends it and of what: the same at each door."""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING

from bridge.adapters.http.answers import problem

if TYPE_CHECKING:
    from bridge.adapters.http.parsing import Request

#: RFC 9110 section 11.6.1 asks for a challenge; the operator's real scheme is not told to strangers.
UNAUTHORIZED = problem(401, {"www-authenticate": "Bearer"})

_JSON = b"application/json"
#: JSON by another name (RFC 6839).
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"')
_KIND_OF_JSON = re.compile(rb"application/[^/\s]+\+json")


def is_authorized(request: Request, wanted: tuple[bytes, ...]) -> bool:
    """Compare with every value that is good now, in constant time, also where no header came; none: anybody is."""
    given = request.fields.get(b"authorization", b"")
    good = [hmac.compare_digest(given, one) for one in wanted]
    return any(good) or not wanted


def declared_length(request: Request) -> int:
    """Return the declared length; a chunked body has none and is counted as it comes."""
    # Leading zeros are digits too, and Python reads no more than 4,300 of these.
    return int(request.fields.get(b"content-length", b"0").lstrip(b"0")[:20] or 0)


def is_json(request: Request) -> bool:
    """Let JSON in, by whatever name, and what does not say what it is.

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
