"""A falcon app that looks at a request before any of its body has come, and tells nobody how it broke."""

from __future__ import annotations

import json
import traceback
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import falcon
import falcon.asgi
import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Receive = Callable[[], Awaitable[Any]]
    Send = Callable[[Any], Awaitable[None]]

_log = structlog.get_logger()

#: What falcon is given for the first piece of body; the real ones follow when they are asked for.
_NOTHING_YET = {"type": "http.request", "body": b"", "more_body": True}


class PromptRequest(falcon.asgi.Request):
    """A request whose body is taken from the client's connection, piece by piece, when it is asked for."""

    def __init__(self, scope: dict[str, Any], receive: Receive, *args: Any, **options: Any) -> None:
        super().__init__(scope, receive, *args, **options)
        self._next_event = receive

    async def read_body(self, limit: int) -> bytes:
        """Return the whole body, of at most `limit` bytes, however it is framed.

        falcon's own stream ends without a word where the client is gone: half a body would pass for one.

        Raises:
            BodyTooLarge: more than `limit` bytes came; the rest is not waited for.
            ClientGone: the client closed before all of it came.

        """
        body = bytearray()
        while True:
            event = await self._next_event()
            if event["type"] == "http.disconnect":
                raise ClientGone
            body += event.get("body", b"")
            if len(body) > limit:
                raise BodyTooLarge
            if not event.get("more_body", False):
                return bytes(body)


class BodyTooLarge(Exception):
    """More bytes came than are taken."""


class ClientGone(Exception):
    """The client closed its connection before its request was whole."""


class PromptApp(falcon.asgi.App[PromptRequest, falcon.asgi.Response]):
    """falcon, but a request is looked at as soon as its headers are there.

    falcon waits for the first piece of body before it does anything, for ever, and asking for it answers
    `Expect: 100-continue` with a go-ahead. A request refused by its headers must not wait for either.
    """

    def __init__(self) -> None:
        super().__init__(request_type=PromptRequest)
        self.add_error_handler(Exception, _broken)
        self.set_error_serializer(_serialize)

    # falcon's own App overrides its WSGI parent just so.
    async def __call__(  # type: ignore[override]
        self, scope: dict[str, Any], receive: Receive, send: Send
    ) -> None:
        """Serve one request."""
        # Nothing here looks at a query; falcon decodes it outside of its own error handling.
        await super().__call__({**scope, "query_string": b""}, _headers_first(receive), send)


def problem(status: int, detail: str | None = None) -> bytes:
    """Return a small JSON object that says what is wrong in words of our own (RFC 9457), echoing nothing."""
    said: dict[str, object] = {"status": status, "title": HTTPStatus(status).phrase}
    if detail is not None:
        said["detail"] = detail
    return json.dumps(said).encode()


def _headers_first(receive: Receive) -> Receive:
    told = False

    async def next_event() -> Any:
        nonlocal told
        if told:
            return await receive()
        told = True
        return _NOTHING_YET

    return next_event


async def _broken(
    req: falcon.asgi.Request, resp: falcon.asgi.Response | None, error: Exception, _params: dict[str, Any]
) -> None:
    """Answer 500 and log what broke and where: never its words, they may hold a number or a text."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    _log.error(
        "request.failed",
        error=type(error).__name__,
        where=f"{frame.filename}:{frame.lineno}",
        method=req.method,
    )
    if resp is not None:
        resp.status = 500
        resp.content_type = "application/problem+json"
        resp.data = problem(500)


def _serialize(_req: falcon.asgi.Request, resp: falcon.asgi.Response, error: falcon.HTTPError) -> None:
    resp.content_type = "application/problem+json"
    resp.data = problem(error.status_code)
