"""Responses, ready to be written."""

from __future__ import annotations

import json
import traceback
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bridge.adapters.http.server.parser import Request

_log = structlog.get_logger()

_JSON = json.JSONEncoder().encode
_CLOSE = b"connection: close\r\n"
_REASONS = {status.value: status.phrase for status in HTTPStatus}
#: Statuses without a body and without its length (RFC 9110 section 8.6).
_WITHOUT_LENGTH = frozenset({204, 304})


class Response:
    """A status, headers and a body; most responses are created once and written often."""

    __slots__ = ("_body", "_head", "closes", "keep_alive", "status")

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        closes: bool = False,
        keep_alive: float | None = None,
    ) -> None:
        """With `closes`, it is the last response on its connection.

        `keep_alive` is the idle time of its connection in seconds, in place of the server's.
        """
        self.status = status
        self.closes = closes
        self.keep_alive = keep_alive
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, '')}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if status not in _WITHOUT_LENGTH:
            lines.append(f"content-length: {len(body)}")
        self._head = "\r\n".join([*lines, ""]).encode("latin-1", "replace")
        self._body = body

    def encode(self, date: bytes, *, persistence: bytes, bodiless: bool) -> bytes:
        """Return its bytes; `date` is the line of that header. The response to a HEAD request is `bodiless`.

        `persistence` are the fields about the connection's idle time; empty for the last response.
        """
        end = persistence or _CLOSE
        return b"%b%b%b\r\n%b" % (self._head, date, end, b"" if bodiless else self._body)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawResponse:
    """Raw bytes, and the end of the connection: invalid responses for tests of clients."""

    data: bytes = b""
    #: Sent after the bytes, byte by byte, `pace` seconds apart.
    drip: bytes = b""
    #: If `drip` is empty, the seconds until the connection is closed.
    pace: float = 0.0
    #: Whether it ends with a TCP reset.
    resets: bool = False


class Dates:
    """The `Date` header, required in each response by RFC 9110 section 6.6.1; formatted once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self, now: float) -> bytes:
        """Return the header's line for `now`, in seconds since the epoch."""
        second = int(now)
        if second != self._second:
            self._second, self._line = second, f"date: {formatdate(second, usegmt=True)}\r\n".encode()
        return self._line


def problem(
    status: int,
    headers: Mapping[str, str] | None = None,
    *,
    detail: str | None = None,
    errors: Sequence[Mapping[str, str]] = (),
    closes: bool = False,
) -> Response:
    """Return a problem document (RFC 9457) with our own text, which repeats no input.

    `errors` are the single problems, if there are several.
    """
    said: dict[str, object] = {"status": status, "title": HTTPStatus(status).phrase}
    if detail is not None:
        said["detail"] = detail
    if errors:
        said["errors"] = errors
    headers = {**(headers or {}), "content-type": "application/problem+json"}
    return Response(status, headers, _JSON(said).encode(), closes=closes)


#: RFC 9110 section 11.6.1 requires a challenge; the configured scheme is not revealed.
UNAUTHORIZED = problem(401, {"www-authenticate": "Bearer"})
#: RFC 9110 section 15.5.16: the response names the accepted coding.
CODED = problem(
    415, {"accept-encoding": "identity"}, detail="the body has a Content-Encoding: send it without one"
)
MEDIA_TYPE = problem(415)

#: The server's own responses.
LATE = problem(408, closes=True)
BODY_TOO_LARGE = problem(413)
HEAD_TOO_LARGE = Response(431, closes=True)
NOT_HTTP = Response(
    400, {"content-type": "text/plain; charset=utf-8"}, b"Invalid HTTP request received.", closes=True
)

_FAILED = problem(500)


def failure(error: Exception, request: Request) -> Response:
    """Return 500, and log the error's type and place: its text may contain a number or a message."""
    frame = traceback.extract_tb(error.__traceback__)[-1:]
    _log.error(
        "request.failed",
        error=type(error).__name__,
        where="".join(f"{each.filename}:{each.lineno}" for each in frame),
        method=request.method,
    )
    return _FAILED
