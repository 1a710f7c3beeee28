"""What is answered, ready to be written."""

from __future__ import annotations

import json
import traceback
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bridge.adapters.http.parsing import Request

_log = structlog.get_logger()

_JSON = json.JSONEncoder().encode
_CLOSE = b"connection: close\r\n"


class Answer:
    """A status, its headers and its body; most are made once and written often."""

    __slots__ = ("_body", "_head", "closes", "status")

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        closes: bool = False,
    ) -> None:
        """With `closes` it is the last on its connection."""
        self.status = status
        self.closes = closes
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if status != HTTPStatus.NO_CONTENT:  # RFC 9110 section 8.6: it has no length
            lines.append(f"content-length: {len(body)}")
        self._head = "\r\n".join([*lines, ""]).encode("latin-1")
        self._body = body

    def wire(self, date: bytes, *, goes_on: bytes, bodiless: bool) -> bytes:
        """Return its bytes; `date` is that header's line. A request by HEAD has an answer that is `bodiless`.

        `goes_on` are the fields that say how long its connection stays; empty: it is the last one there.
        """
        end = goes_on or _CLOSE
        return b"%b%b%b\r\n%b" % (self._head, date, end, b"" if bodiless else self._body)


class Dates:
    """The `Date` header, which RFC 9110 section 6.6.1 wants in every answer, put together once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self, now: float) -> bytes:
        """Return its line at `now`, in seconds since the epoch."""
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
) -> Answer:
    """Return a small JSON object that says what is wrong in words of our own (RFC 9457), echoing nothing.

    `errors` are its parts, where there are several.
    """
    said: dict[str, object] = {"status": status, "title": HTTPStatus(status).phrase}
    if detail is not None:
        said["detail"] = detail
    if errors:
        said["errors"] = errors
    headers = {**(headers or {}), "content-type": "application/problem+json"}
    return Answer(status, headers, _JSON(said).encode(), closes=closes)


#: RFC 9110 section 11.6.1 asks for a challenge; the operator's real scheme is not shown to strangers.
UNAUTHORIZED = problem(401, {"www-authenticate": "Bearer"})
#: RFC 9110 section 15.5.16: the answer names the coding that is taken.
CODED = problem(
    415, {"accept-encoding": "identity"}, detail="the body has a Content-Encoding: send it without one"
)
MEDIA_TYPE = problem(415)

#: What a connection says by itself.
LATE = problem(408, closes=True)
BODY_TOO_LARGE = problem(413)
HEAD_TOO_LARGE = Answer(431, closes=True)
NOT_HTTP = Answer(
    400, {"content-type": "text/plain; charset=utf-8"}, b"Invalid HTTP request received.", closes=True
)

_BROKEN = problem(500)


def broken(error: Exception, request: Request) -> Answer:
    """Answer 500 and log what broke and where: never its words, they may hold a number or a text."""
    frame = traceback.extract_tb(error.__traceback__)[-1:]
    _log.error(
        "request.failed",
        error=type(error).__name__,
        where="".join(f"{each.filename}:{each.lineno}" for each in frame),
        method=request.method,
    )
    return _BROKEN
