"""The interface of what answers requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.adapters.http.server.response import RawResponse, Response, problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.http.server.parser import Request


class Application:
    """Called on the event loop; must not block."""

    #: Bytes of a body, and seconds from the head to its last byte.
    max_body: int = 0
    body_timeout: float = 0.0
    #: The response to requests for which there is no more time: the server ends.
    unavailable: Response | RawResponse = problem(503, closes=True)
    #: Whether a client that has said that it sends no more still has its response.
    serves_half_closed = True

    def check_head(self, request: Request) -> Response | None:
        """Return the response to a request that its head refuses, or None to have its body read."""
        raise NotImplementedError

    def handle(self, request: Request, respond: Callable[[Response | RawResponse], None]) -> None:
        """Answer a request that is complete, now or later, once."""
        raise NotImplementedError

    def on_refused(self, request: Request, status: int) -> None:
        """Take note of a request whose body was not read to its end."""

    def on_abandoned(self, request: Request) -> None:
        """Take note of a complete request whose connection ended without a response, or with a raw one."""
