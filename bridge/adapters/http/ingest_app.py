"""The door of the ingest: what may come in, and what is answered (SPEC section 6).

Checks stand in the order of what they cost, and nothing of a body is read for a request that its headers
refuse:

    method          405
    path            404
    client          403
    declared length 413
    authorization   401
    content type    415
    body            413 too large, 408 too slow
    room            503
    taking it       204 durable, 503 not now, 400 not a notification
"""

from __future__ import annotations

import asyncio
import hmac
import re
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeAlias

from bridge.adapters.http.client import client_of, is_in
from bridge.adapters.http.prompt import BodyTooLarge, ClientGone, PromptApp, PromptRequest, problem
from bridge.core.errors import InvalidNotification

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    import falcon.asgi

    from bridge.adapters.http.client import Address, Network


class Taken(Enum):
    """What became of a notification that was handed over."""

    #: It will be an event, whatever happens now.
    DURABLE = auto()
    #: Nothing could make it durable; the provider has to come again.
    NOT_NOW = auto()


Take: TypeAlias = "Callable[[bytes], Awaitable[Taken]]"
#: Told the status of a request that was refused, and the address of its client where that is known.
Refused: TypeAlias = "Callable[[int, str | None], None]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Who and what is let in."""

    path: str
    #: Each is the whole value of an `Authorization` header; several during rotation, none: anybody.
    authorization: tuple[bytes, ...] = field(default=(), repr=False)
    #: Where clients may come from; none: anywhere.
    allow: tuple[Network, ...] = ()
    #: Whose `X-Forwarded-For` is believed.
    trusted_proxies: tuple[Network, ...] = ()
    #: Bytes.
    max_body: int = 64 * 1024
    #: Seconds from the headers to the last byte of the body.
    body_timeout: float = 10.0
    #: Notifications handed over and not yet answered.
    max_in_flight: int = 256
    #: Seconds after which the provider may come again, where we can't take a notification.
    retry_after: int = 5

    def __post_init__(self) -> None:
        if not all(self.authorization):
            raise ValueError("an empty authorization would let in whoever sends none")


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    detail: str | None = None


_NO_CONTENT = _Answer(204)
#: Nobody is there to read it.
_GONE = _Answer(400)
_FORBIDDEN = _Answer(403)
_NOT_FOUND = _Answer(404)
_METHOD_NOT_ALLOWED = _Answer(405, {"Allow": "POST"})
_TIMEOUT = _Answer(408, {"Connection": "close"})
_TOO_LARGE = _Answer(413)
_MEDIA_TYPE = _Answer(415)
#: RFC 9110 section 11.6.1 asks for a challenge; the operator's real scheme is not told to strangers.
_UNAUTHORIZED = _Answer(401, {"WWW-Authenticate": "Bearer"})


def make_ingest_app(door: Door, take: Take, *, refused: Refused | None = None) -> PromptApp:
    """Return the ASGI app that hands the bodies that pass `door` to `take`.

    `take` may raise InvalidNotification. `refused` is told of each request that `take` never saw.
    """
    app = PromptApp()
    webhook = _Webhook(door, take, refused or _unheard)
    # Everything, also what no path can match; falcon types a sink for WebSockets too, which are not served.
    app.add_sink(webhook.respond, prefix=re.compile(""))  # type: ignore[arg-type]
    return app


def _unheard(status: int, client: str | None) -> None:
    """Tell nobody."""


class _Webhook:
    def __init__(self, door: Door, take: Take, refused: Refused) -> None:
        self._door = door
        self._take = take
        self._refused = refused
        self._in_flight = 0
        self._not_now = _Answer(503, {"Retry-After": str(door.retry_after)})
        self._checks = (
            self._method,
            self._path,
            self._network,
            self._length,
            self._authorization,
            self._media_type,
        )

    async def respond(self, req: PromptRequest, resp: falcon.asgi.Response) -> None:
        try:
            answer = await self._answer(req)
        except asyncio.CancelledError:
            # The server stops and this request outlived its grace. It is the end of its task: nobody above
            # waits for the cancellation, and the provider is better told to come again than cut off.
            answer = self._not_now
        resp.status = answer.status
        resp.set_headers(dict(answer.headers))
        if answer.status != _NO_CONTENT.status:
            resp.content_type = "application/problem+json"
            resp.data = problem(answer.status, answer.detail)

    async def _answer(self, req: PromptRequest) -> _Answer:
        body = await self._read(req)
        if isinstance(body, _Answer):
            client = self._client(req)
            self._refused(body.status, None if client is None else str(client))
            return body
        self._in_flight += 1
        try:
            taken = await self._take(body)
        except InvalidNotification as error:
            return _Answer(400, detail=str(error))
        finally:
            self._in_flight -= 1
        return _NO_CONTENT if taken is Taken.DURABLE else self._not_now

    async def _read(self, req: PromptRequest) -> bytes | _Answer:
        """Return the body, or why it is not taken."""
        for check in self._checks:
            refusal = check(req)
            if refusal is not None:
                return refusal
        try:
            async with asyncio.timeout(self._door.body_timeout):
                body = await req.read_body(self._door.max_body)
        except BodyTooLarge:
            return _TOO_LARGE
        except TimeoutError:
            return _TIMEOUT
        except ClientGone:
            return _GONE
        return body if self._in_flight < self._door.max_in_flight else self._not_now

    def _method(self, req: PromptRequest) -> _Answer | None:
        return None if req.method == "POST" else _METHOD_NOT_ALLOWED

    def _path(self, req: PromptRequest) -> _Answer | None:
        return None if req.path == self._door.path else _NOT_FOUND

    def _network(self, req: PromptRequest) -> _Answer | None:
        """Let in whoever comes from an allowed network; nobody knows where an unknown client comes from."""
        if not self._door.allow:
            return None
        client = self._client(req)
        return None if client is not None and is_in(client, self._door.allow) else _FORBIDDEN

    def _client(self, req: PromptRequest) -> Address | None:
        peer = req.scope.get("client")
        forwarded = [
            value.decode("latin-1") for name, value in req.scope["headers"] if name == b"x-forwarded-for"
        ]
        return client_of(peer[0] if peer else None, forwarded, self._door.trusted_proxies)

    def _length(self, req: PromptRequest) -> _Answer | None:
        """Look at the declared length; a chunked body has none and is counted as it comes."""
        return _TOO_LARGE if (req.content_length or 0) > self._door.max_body else None

    def _authorization(self, req: PromptRequest) -> _Answer | None:
        """Compare with every value that is good now, in constant time, also where no header came."""
        if not self._door.authorization:
            return None
        given = (req.get_header("Authorization") or "").encode("latin-1")
        good = [hmac.compare_digest(given, wanted) for wanted in self._door.authorization]
        return None if any(good) else _UNAUTHORIZED

    def _media_type(self, req: PromptRequest) -> _Answer | None:
        """Let JSON in, by whatever name (RFC 6839), and what does not say what it is."""
        media_type = (req.content_type or "application/json").partition(";")[0].strip().lower()
        json = media_type == "application/json" or re.fullmatch(r"application/[^/\s]+\+json", media_type)
        return None if json else _MEDIA_TYPE
