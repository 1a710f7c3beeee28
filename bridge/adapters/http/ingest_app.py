"""The webhook endpoint: its checks and their responses (specification section 6).

The checks are in the order of their cost, and no body is read for a request that its headers
refuse:

    method          405
    path            404
    client          403
    declared length 413
    authorization   401
    content type    415, also for a compressed body
    body            413 too large, 408 too slow
    capacity        503
    notification    204 durable, 503 retry later, 400 not a notification
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


#: Takes a body and calls back exactly once, immediately or later.
Take: TypeAlias = "Callable[[bytes, NotificationAnswered], None]"
#: Called with the status of a refused request, and its client's address if known.
Refused: TypeAlias = "Callable[[int, str | None], None]"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSettings:
    """The checks and limits of the webhook endpoint."""

    path: str
    #: Allowed values of the `Authorization` header; several during rotation. Empty: each request is allowed.
    authorization: tuple[bytes, ...] = field(default=(), repr=False)
    #: The clients' networks; empty: any.
    allow: tuple[Network, ...] = ()
    #: The proxies whose `X-Forwarded-For` is trusted.
    trusted_proxies: tuple[Network, ...] = ()
    #: Bytes.
    max_body: int = 64 * 1024
    #: Seconds from the headers to the last byte of the body.
    body_timeout: float = 10.0
    #: Notifications that are being processed.
    max_in_flight: int = 256
    #: Seconds in the `Retry-After` of a 503.
    retry_after: int = 5

    def __post_init__(self) -> None:
        if not all(self.authorization):
            raise ValueError("an empty authorization would accept requests without one")


_NO_CONTENT = Response(204)
_FORBIDDEN = problem(403)
_NOT_FOUND = problem(404)
_METHOD_NOT_ALLOWED = problem(405, {"allow": "POST"})
_TOO_LARGE = problem(413)


def _ignore(status: int, client: str | None) -> None:
    """Do nothing."""


class Webhook(Application):
    """The endpoint to which the provider posts notifications."""

    def __init__(self, settings: EndpointSettings, take: Take, *, refused: Refused = _ignore) -> None:
        """Pass the bodies of requests that `settings` allow to `take`.

        `refused` is called for each request that is not passed on.
        """
        self.max_body = settings.max_body
        self.body_timeout = settings.body_timeout
        self.unavailable: Response = problem(503, {"retry-after": str(settings.retry_after)})
        self._settings = settings
        self._take = take
        self._report_refused = refused
        self._in_flight = 0

    def check_head(self, request: Request) -> Response | None:
        """Return the response to a request that its headers refuse."""
        answer = self._refusal(request)
        if answer is not None:
            self.on_refused(request, answer.status)
        return answer

    def handle(self, request: Request, answer: Callable[[Response], None]) -> None:
        """Pass on a notification, and respond once it has been processed."""
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
        """Report a refused request."""
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
        """Check the head, the cheapest check first."""
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
        """Whether the client is in an allowed network; an unknown client is not."""
        client = self._client(request)
        return client is not None and is_in(client, self._settings.allow)

    def _client(self, request: Request) -> Address | None:
        forwarded = request.fields.get(b"x-forwarded-for")
        hops = () if forwarded is None else (forwarded.decode("latin-1"),)
        return client_of(request.peer, hops, self._settings.trusted_proxies)
