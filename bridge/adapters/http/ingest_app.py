"""The webhook: which requests are let in, and their responses (SPEC section 6).

Checks stand in the order of what they cost, and nothing of a body is read for a request that its headers
refuse:

    method          405
    path            404
    client          403
    declared length 413
    authorization   401
    content type    415, also for a compressed body
    body            413 too large, 408 too slow
    room            503
    taking it       204 durable, 503 not now, 400 not a notification
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from bridge.adapters.http.server.addresses import client_of, is_in
from bridge.adapters.http.server.application import Application
from bridge.adapters.http.server.response import CODED, MEDIA_TYPE, UNAUTHORIZED, Response, failure, problem
from bridge.domain.errors import InvalidNotification
from bridge.ports.http_results import NotificationResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.http.server.addresses import Address, Network
    from bridge.adapters.http.server.parser import Request
    from bridge.ports.http_results import NotificationAnswered


#: Takes a body and calls back, once, now or later.
Take: TypeAlias = "Callable[[bytes, NotificationAnswered], None]"
#: Called with the status of a request that was refused, and the address of its client where that is known.
Refused: TypeAlias = "Callable[[int, str | None], None]"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSettings:
    """The requests that are let in."""

    path: str
    #: Each is the whole value of an `Authorization` header; several during rotation. None lets in every request.
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
            raise ValueError("an empty authorization would let in requests without one")


_NO_CONTENT = Response(204)
_FORBIDDEN = problem(403)
_NOT_FOUND = problem(404)
_METHOD_NOT_ALLOWED = problem(405, {"allow": "POST"})
_TOO_LARGE = problem(413)


def _ignore(status: int, client: str | None) -> None:
    """Do nothing."""


class Webhook(Application):
    """The endpoint that the provider posts notifications to."""

    def __init__(self, settings: EndpointSettings, take: Take, *, refused: Refused = _ignore) -> None:
        """Hand the bodies of the requests that `settings` let in to `take`.

        `refused` is called for each request that `take` never saw.
        """
        self.max_body = settings.max_body
        self.body_timeout = settings.body_timeout
        self.unavailable: Response = problem(503, {"retry-after": str(settings.retry_after)})
        self._settings = settings
        self._take = take
        self._report_refused = refused
        self._in_flight = 0

    def check_head(self, request: Request) -> Response | None:
        """Answer what the headers refuse."""
        answer = self._refusal(request)
        if answer is not None:
            self.on_refused(request, answer.status)
        return answer

    def handle(self, request: Request, answer: Callable[[Response], None]) -> None:
        """Have a notification taken, and answer once it was."""
        if self._in_flight >= self._settings.max_in_flight:
            self.on_refused(request, self.unavailable.status)
            answer(self.unavailable)
            return
        self._in_flight += 1
        try:
            self._take(bytes(request.body), partial(self._taken, request, answer))
        except Exception:
            self._in_flight -= 1
            raise

    def on_refused(self, request: Request, status: int) -> None:
        """Report a request that was not taken."""
        client = self._client(request)
        self._report_refused(status, None if client is None else str(client))

    def _taken(
        self, request: Request, answer: Callable[[Response], None], result: NotificationResult | Exception
    ) -> None:
        self._in_flight -= 1
        match result:
            case NotificationResult.PUBLISHED | NotificationResult.REPEATED:
                answer(_NO_CONTENT)
            case NotificationResult.REFUSED:
                answer(self.unavailable)
            case InvalidNotification():
                answer(problem(400, detail=str(result)))
            case Exception():
                answer(failure(result, request))

    def _refusal(self, request: Request) -> Response | None:
        """Check the head, in the order of what a check costs."""
        settings = self._settings
        if request.method != "POST":
            return _METHOD_NOT_ALLOWED
        if request.path != settings.path:
            return _NOT_FOUND
        if settings.allow and not self._is_allowed(request):
            return _FORBIDDEN
        if request.declared > self.max_body:
            return _TOO_LARGE
        if not request.is_authorized(settings.authorization):
            return UNAUTHORIZED
        if request.is_coded():
            return CODED
        return None if request.is_json() else MEDIA_TYPE

    def _is_allowed(self, request: Request) -> bool:
        """Whether it comes from an allowed network; an unknown client does not."""
        client = self._client(request)
        return client is not None and is_in(client, self._settings.allow)

    def _client(self, request: Request) -> Address | None:
        forwarded = request.fields.get(b"x-forwarded-for")
        hops = () if forwarded is None else (forwarded.decode("latin-1"),)
        return client_of(request.peer, hops, self._settings.trusted_proxies)
