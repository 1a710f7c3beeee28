"""An HTTP/1.1 request parser with bounded heads and without I/O.

It is llhttp, through httptools, in its strictest mode: a message that is not valid HTTP is refused with its connection,
above all a body that two headers frame differently (RFC 9112 sections 6.3 and 11.2).
"""

from __future__ import annotations

import hmac
import re
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

import httptools

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Bytes of request line and header fields; a webhook has a few hundred.
MAX_HEAD = 16 * 1024
#: Header fields; each costs a hundred times the memory of its bytes.
MAX_FIELDS = 100
_JSON = b"application/json"
#: A quoted string (RFC 9110 section 5.6.4), also an unclosed one: a search for its end from each quote would take
#: quadratic time.
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.?)*"?')
#: Media types of JSON with another name (RFC 6839).
_KIND_OF_JSON = re.compile(rb"application/[^/\s]+\+json")
#: Other versions have other framing, or are not HTTP.
_VERSIONS = frozenset({"1.0", "1.1"})


class NotHttp(Exception):
    """The data is not HTTP, or uses a part of HTTP that is not supported."""


class HeadTooLarge(NotHttp):
    """The head exceeds the limit."""


class Request:
    """A request, whose body may still be incomplete."""

    __slots__ = (
        "body", "declared", "fields", "is_complete", "keeps_alive", "max_body", "method", "path", "peer", "target",
    )  # fmt: skip

    def __init__(
        self,
        method: str,
        target: bytes,
        fields: dict[bytes, bytes],
        *,
        declared: int = 0,
        keeps_alive: bool,
    ) -> None:
        self.method = method
        #: The target as sent.
        self.target = target
        #: The path without the query, percent-decoded.
        self.path = _path(target)
        #: Names in lower case; several lines with one name are one list (RFC 9110 section 5.3).
        self.fields = fields
        #: Whether another request may follow its response.
        self.keeps_alive = keeps_alive
        #: The address of the connection's other end.
        self.peer: str | None = None
        self.body = bytearray()
        #: The declared length of its body, and the largest accepted length, once that is decided.
        self.declared = declared
        self.max_body: float = inf
        #: Whether the whole body has arrived.
        self.is_complete = False

    def is_authorized(self, wanted: tuple[bytes, ...]) -> bool:
        """Compare with each allowed value in constant time, even without a header. Without values, allow all."""
        given = self.fields.get(b"authorization", b"")
        good = [hmac.compare_digest(given, one) for one in wanted]
        return any(good) or not wanted

    def is_coded(self) -> bool:
        """Whether the body is compressed or has another content coding (RFC 9110 section 8.4)."""
        coding = self.fields.get(b"content-encoding", b"")
        return bool(coding) and coding.lower() != b"identity"

    def is_json(self) -> bool:
        """Whether the content type is one of JSON's, or is missing.

        Several equal lines count as one, as some proxies and clients write them; different lines are not JSON.
        """
        value = self.fields.get(b"content-type") or _JSON
        if b"," in value:
            # A list of lines (RFC 9110 section 5.3), or a comma within a parameter's quotes.
            types = {one.strip().lower() for one in _QUOTED.sub(b"", value).split(b",")}
            if len(types) > 1:
                return False
            value = types.pop()
        media_type = value.partition(b";")[0].strip().lower()
        return media_type == _JSON or _KIND_OF_JSON.fullmatch(media_type) is not None


class RequestListener(Protocol):
    """Receives the parser's results in order."""

    def on_request(self, request: Request) -> None:
        """Handle a request whose head is complete."""
        ...

    def on_too_large(self, request: Request) -> None:
        """Handle a body that exceeds the limit."""
        ...

    def on_complete(self, request: Request) -> None:
        """Handle the end of a request."""
        ...


class RequestParser:
    """Reads the requests of one connection."""

    def __init__(self, listener: RequestListener) -> None:
        self._listener: Any = listener
        self._parser: Any = _new_parser(self)
        self._in_head = True
        #: The number of heads that have begun, and the size of the last one in bytes.
        self._heads = 0
        self._head_size = 0
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._request: Request | None = None
        #: The rest of the declared length of the current body, in bytes.
        self.body_left = 0
        #: Whether a request is complete and no byte of another has come.
        self.is_between = False

    def feed(self, data: bytes) -> None:
        """Parse the next bytes.

        Raises:
            HeadTooLarge: a head exceeds MAX_HEAD bytes.
            NotHttp: the connection can't be used any more.

        """
        heads = self._heads
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._feed_without_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            raise HeadTooLarge if self._head_size > MAX_HEAD else NotHttp from error
        # The parser does not report its part of an unfinished field: count it, too.
        if self._in_head and self._heads == heads:
            self._count(len(data))

    def close(self) -> None:
        """Drop the references to parser and listener, which refer back to this; `feed` is not called again."""
        self._parser = self._listener = self._request = None

    def _feed_without_upgrade(self, rest: bytes) -> None:
        """Parse the last head again without its upgrade, and `rest`: the parser took the upgrade for the end of HTTP.

        RFC 9110 section 7.8: a server without the other protocol ignores the field. Java's HttpClient requests HTTP/2.
        """
        method, version = self._parser.get_method(), self._parser.get_http_version()
        if method == b"CONNECT":  # a tunnel follows, and there is no destination
            raise NotHttp
        lines = [b"%b %b HTTP/%b" % (method, self._target, version.encode())]
        lines += [b"%b: %b" % field for field in self._fields if field[0] != b"upgrade"]
        # If the last request closes the connection, the old parser skips the following bytes.
        self._parser = _new_parser(self)
        self.feed(b"\r\n".join([*lines, b"", rest]))

    def _count(self, size: int) -> None:
        self._head_size += size
        if self._head_size > MAX_HEAD:
            raise HeadTooLarge

    # --- called by the parser, which takes any exception for the end of HTTP -----------------------------------

    def on_message_begin(self) -> None:
        """Start counting at zero."""
        self._in_head, self._head_size, self.is_between = True, 0, False
        self._heads += 1
        self._target, self._fields, self._request = b"", [], None

    def on_url(self, url: bytes) -> None:
        """Count the target, which may come in several pieces."""
        self._count(len(url))
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a field; one in the trailer of a chunked body is not a header and only counted."""
        self._head_size += len(name) + len(value) + 4  # with the colon, the space and the end of the line
        if len(self._fields) == MAX_FIELDS:
            self._head_size = MAX_HEAD + 1
        if self._head_size > MAX_HEAD:
            raise HeadTooLarge
        if self._in_head:
            # RFC 9110 section 5.5: whitespace around a value is not part of it. The parser leaves trailing whitespace.
            self._fields.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        """Report the request, unless it will be parsed again."""
        self._in_head = False
        parser = self._parser
        if parser.should_upgrade():
            return
        version, fields = parser.get_http_version(), _by_name(self._fields)
        is_old = version == "1.0"
        if version not in _VERSIONS or not (is_old or b"host" in fields):
            raise NotHttp
        if fields.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
            raise NotHttp  # RFC 9112 section 6.1: a transfer coding that is not supported
        if is_old:
            fields.pop(b"expect", None)  # RFC 9110 section 10.1.1
        self._fields = []
        self.body_left = declared_length(fields)
        self._request = Request(
            parser.get_method().decode("ascii"),
            self._target,
            fields,
            declared=self.body_left,
            keeps_alive=not is_old and parser.should_keep_alive(),
        )
        self._listener.on_request(self._request)

    def on_body(self, data: bytes) -> None:
        """Add a piece to the body, unless the body is dropped."""
        self.body_left = max(0, self.body_left - len(data))
        request = self._request
        if request is not None:
            request.body += data
            if len(request.body) > request.max_body:
                self._listener.on_too_large(request)

    def on_message_complete(self) -> None:
        """Report the end of the request."""
        self.is_between = True
        request, self._request = self._request, None
        if request is not None:
            request.is_complete = True
            self._listener.on_complete(request)

    def discard(self, request: Request) -> None:
        """Read the rest of a request, and drop it."""
        if request is self._request:
            self._request = None


def _new_parser(parser: RequestParser) -> httptools.HttpRequestParser:
    made = httptools.HttpRequestParser(parser)
    # After a request that closes the connection it skips further bytes, and the request is answered all the same.
    made.set_dangerous_leniencies(lenient_data_after_close=True)
    return made


def declared_length(fields: dict[bytes, bytes]) -> int:
    """Return the declared length of a body; 0 for a chunked body, which is counted as it comes."""
    # Leading zeros are digits, too, and Python converts at most 4,300 digits.
    return int(fields.get(b"content-length", b"0").lstrip(b"0")[:20] or 0)


def _by_name(fields: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    found = dict(fields)
    if len(found) < len(fields):
        found.clear()
        for name, value in fields:
            if name == b"host" and name in found:
                raise NotHttp  # RFC 9112 section 3.2, as for a missing Host
            found[name] = b"%b,%b" % (found[name], value) if name in found else value
    return found


@lru_cache(maxsize=16)  # the provider uses one target; any other is at most MAX_HEAD bytes
def _path(target: bytes) -> str:
    """Return the path of a target, also of one with scheme and host. Raises an exception if it has no path."""
    path = httptools.parse_url(target).path.decode("ascii")
    return unquote(path) if "%" in path else path
