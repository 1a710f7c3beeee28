"""The door of the ingest: what may come in, and what is answered (SPEC section 6).

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

from bridge.adapters.http.answers import Answer, broken, problem
from bridge.adapters.http.client import client_of, is_in
from bridge.adapters.http.credentials import CODED, UNAUTHORIZED, is_authorized, is_coded, is_json
from bridge.adapters.http.parsing import declared_length
from bridge.domain.errors import InvalidNotification
from bridge.ports.serving import Taken

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.http.client import Address, Network
    from bridge.adapters.http.parsing import Request
    from bridge.ports.serving import NotificationAnswered


#: Takes a body and calls back, once, now or later.
Take: TypeAlias = "Callable[[bytes, NotificationAnswered], None]"
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


_NO_CONTENT = Answer(204)
_FORBIDDEN = problem(403)
_NOT_FOUND = problem(404)
_METHOD_NOT_ALLOWED = problem(405, {"allow": "POST"})
_TOO_LARGE = problem(413)
_MEDIA_TYPE = problem(415)


def _unheard(status: int, client: str | None) -> None:
    """Tell nobody."""


class Webhook:
    """Fills `bridge.adapters.http.service.Service`."""

    def __init__(self, door: Door, take: Take, *, refused: Refused = _unheard) -> None:
        """Hand the bodies that pass `door` to `take`, which may raise InvalidNotification.

        `refused` is told of each request that `take` never saw.
        """
        self.max_body = door.max_body
        self.body_timeout = door.body_timeout
        self.not_now = problem(503, {"retry-after": str(door.retry_after)})
        self._door = door
        self._take = take
        self._tell_refused = refused
        self._in_flight = 0
        self._checks = (
            self._method,
            self._path,
            self._network,
            self._length,
            self._authorization,
            self._media_type,
        )

    def look(self, request: Request) -> Answer | None:
        """Answer what the headers refuse."""
        for check in self._checks:
            answer = check(request)
            if answer is not None:
                self.refused(request, answer.status)
                return answer
        return None

    def handle(self, request: Request, answer: Callable[[Answer], None]) -> None:
        """Have a notification taken, and answer once it was."""
        if self._in_flight >= self._door.max_in_flight:
            self.refused(request, self.not_now.status)
            answer(self.not_now)
            return
        self._in_flight += 1
        try:
            self._take(bytes(request.body), partial(self._taken, request, answer))
        except InvalidNotification as error:
            self._in_flight -= 1
            answer(problem(400, detail=str(error)))
        except Exception:
            self._in_flight -= 1
            raise

    def refused(self, request: Request, status: int) -> None:
        """Tell of a request that nobody took."""
        client = self._client(request)
        self._tell_refused(status, None if client is None else str(client))

    def _taken(self, request: Request, answer: Callable[[Answer], None], taken: Taken | Exception) -> None:
        self._in_flight -= 1
        if isinstance(taken, Exception):
            answer(broken(taken, request))
        else:
            answer(_NO_CONTENT if taken is Taken.DURABLE else self.not_now)

    def _method(self, request: Request) -> Answer | None:
        return None if request.method == "POST" else _METHOD_NOT_ALLOWED

    def _path(self, request: Request) -> Answer | None:
        return None if request.path == self._door.path else _NOT_FOUND

    def _network(self, request: Request) -> Answer | None:
        """Let in whoever comes from an allowed network; nobody knows where an unknown client comes from."""
        if not self._door.allow:
            return None
        client = self._client(request)
        return None if client is not None and is_in(client, self._door.allow) else _FORBIDDEN

    def _client(self, request: Request) -> Address | None:
        forwarded = request.fields.get(b"x-forwarded-for")
        hops = () if forwarded is None else (forwarded.decode("latin-1"),)
        return client_of(request.peer, hops, self._door.trusted_proxies)

    def _length(self, request: Request) -> Answer | None:
        return _TOO_LARGE if declared_length(request.fields) > self.max_body else None

    def _authorization(self, request: Request) -> Answer | None:
        return None if is_authorized(request, self._door.authorization) else UNAUTHORIZED

    def _media_type(self, request: Request) -> Answer | None:
        if is_coded(request):
            return CODED
        return None if is_json(request) else _MEDIA_TYPE
