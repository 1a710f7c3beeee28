"""Bytes in, requests out: httptools' callbacks gathered into values. No socket here."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote

import httptools

from bridge.simulator.http import SimulatorRequest

#: The most a body may hold, in bytes; a send is some hundred.
MAX_BODY = 1_048_576


class NotReadable(Exception):
    """What came is not HTTP, or too much of it; the connection is of no further use."""


class RequestReader:
    """Takes bytes as they come and gives back the requests they complete."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._complete: list[SimulatorRequest] = []
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = bytearray()

    def feed(self, data: bytes) -> list[SimulatorRequest]:
        """Return the requests that `data` completes, in order.

        Raises:
            NotReadable: no HTTP, an upgrade, or a body over `MAX_BODY`.

        """
        self._complete = []
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, UnicodeDecodeError) as error:
            raise NotReadable(type(error).__name__) from error
        if len(self._body) > MAX_BODY:
            raise NotReadable("the body is too large")
        return self._complete

    # What follows is called by the parser, by these names.

    def on_message_begin(self) -> None:
        """Start a request."""
        self._url, self._headers, self._body = b"", {}, bytearray()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Finish a request."""
        path, _, query = self._url.decode("ascii").partition("?")
        self._complete.append(
            SimulatorRequest(
                method=self._parser.get_method().decode("ascii"),
                parts=_parts(path),
                query=dict(parse_qsl(query, keep_blank_values=True)) if query else {},
                headers=self._headers,
                body=bytes(self._body),
                keep_alive=self._parser.should_keep_alive(),
            )
        )


def _parts(path: str) -> tuple[str, ...]:
    parts = path.strip("/").split("/")
    return tuple(map(unquote, parts)) if "%" in path else tuple(parts)
