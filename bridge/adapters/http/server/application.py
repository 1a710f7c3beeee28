"""The interface of an application on the HTTP server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.adapters.http.server.response import RawResponse, Response, problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.http.server.parser import Request


class Application:
    """An application. Its methods are called on the event loop and must not block."""

    #: The largest body in bytes, and the seconds from the head to the body's last byte.
    max_body: int = 0
    body_timeout: float = 0.0
    #: The response to requests that are still unanswered when the server stops.
    unavailable: Response | RawResponse = problem(503, closes=True)
    #: Whether a client that has closed its sending side still gets its response.
    serves_half_closed = True

    def check_head(self, request: Request) -> Response | None:
        """Return the response to a request that its head refuses; None to read its body."""
        raise NotImplementedError

    def handle(self, request: Request, respond: Callable[[Response | RawResponse], None]) -> None:
        """Respond to a complete request exactly once, immediately or later."""
        raise NotImplementedError

    def on_refused(self, request: Request, status: int) -> None:
        """Take note of a request whose body was not read completely."""

    def on_abandoned(self, request: Request) -> None:
        """Take note of a complete request whose connection ended without a response, or with a raw one."""
