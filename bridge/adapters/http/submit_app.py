"""The command API: submitting and looking up commands, with the responses (docs/messages.md).

    path            404
    method          405
    declared length 413
    authorization   401
    content type    415, also for a compressed body
    body            413 too large, 408 too slow
    capacity        503
    key             400
    command         202 the broker has it, 400 not readable, 422 not valid, 409 another command, 503 retry later

A command that is not answered 202 is not in the queue. The exception is a 503 without a confirm in time: it may be in
the queue or not. The same command may be submitted again with the same id.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from bridge.adapters.http.idempotency import HEADER, read_key
from bridge.adapters.http.server.application import Application
from bridge.adapters.http.server.response import CODED, MEDIA_TYPE, UNAUTHORIZED, failure, problem
from bridge.adapters.http.submit_answers import BUSY, invalid_answer, result_answer, shown_answer
from bridge.domain.command_parser import MAX_BODY
from bridge.domain.contracts.commands import SUBMIT_PATH
from bridge.domain.errors import Invalid
from bridge.domain.messages import SubmittedCommand
from bridge.ports.http_results import Operation

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.http.server.parser import Request
    from bridge.adapters.http.server.response import Response
    from bridge.ports.http_results import CommandAnswered, CommandShown, SubmitResult, Unknown

#: The path prefix before the id of a command.
_COMMAND_PATH = f"{SUBMIT_PATH}/"
#: Seconds from a head to the last byte of its body.
BODY_TIMEOUT = 10.0


#: Takes a command and calls back exactly once, immediately or later; raises Invalid for a body without a command.
Take: TypeAlias = "Callable[[SubmittedCommand, CommandAnswered], None]"
#: Looks a command up by its id and calls back exactly once, immediately or later.
Show: TypeAlias = "Callable[[str, CommandShown], None]"
#: Called with a refused request's operation, its status, and its client's address.
Refused: TypeAlias = "Callable[[Operation, int, str | None], None]"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitEndpointSettings:
    """The checks and limits of the command API."""

    #: Allowed values of the `Authorization` header; several during rotation.
    authorization: tuple[bytes, ...] = field(repr=False)
    #: Bytes; no worker would accept a larger command.
    max_body: int = MAX_BODY
    body_timeout: float = BODY_TIMEOUT
    #: Commands that are being submitted.
    max_in_flight: int = 200

    def __post_init__(self) -> None:
        if not self.authorization or not all(self.authorization):
            raise ValueError("without an authorization, requests without one would be accepted")


_NOT_FOUND = problem(404)
_ONLY_POST = problem(405, {"allow": "POST"})
_ONLY_GET = problem(405, {"allow": "GET, HEAD"})
_TOO_LARGE = problem(413)
_NO_KEY = problem(
    400,
    detail="the Idempotency-Key is not one string of 1 to 128 printable ASCII characters, in quotes or without them",
)


class Submit(Application):
    """The endpoints for submitting and looking up commands."""

    unavailable = BUSY

    def __init__(self, settings: SubmitEndpointSettings, take: Take, show: Show, *, refused: Refused) -> None:
        """Pass allowed requests to `take` and `show`; `refused` is called for each other request."""
        self.max_body = settings.max_body
        self.body_timeout = settings.body_timeout
        self._settings = settings
        self._take = take
        self._show = show
        self._report_refused = refused
        self._in_flight = 0

    def check_head(self, request: Request) -> Response | None:
        """Return the response to a request that its headers refuse."""
        answer = self._refusal(request)
        if answer is not None:
            self.on_refused(request, answer.status)
        return answer

    def handle(self, request: Request, answer: Callable[[Response], None]) -> None:
        """Submit or look up a command, and respond with the result."""
        if operation_of(request) is Operation.SHOW:
            self._show(request.path.removeprefix(_COMMAND_PATH), partial(self._shown, request, answer))
            return
        given = request.fields.get(HEADER)
        key = None if given is None else read_key(given)
        if self._in_flight >= self._settings.max_in_flight:
            self._refuse(request, answer, BUSY)
            return
        if given is not None and key is None:
            self._refuse(request, answer, _NO_KEY)
            return
        self._in_flight += 1
        try:
            self._take(_submitted(request, key), partial(self._taken, request, answer))
        except Invalid as error:
            self._in_flight -= 1
            answer(invalid_answer(error))
        except Exception:
            self._in_flight -= 1
            raise

    def on_refused(self, request: Request, status: int) -> None:
        """Report a refused request."""
        self._report_refused(operation_of(request), status, request.peer)

    def _refuse(self, request: Request, answer: Callable[[Response], None], refusal: Response) -> None:
        self.on_refused(request, refusal.status)
        answer(refusal)

    def _refusal(self, request: Request) -> Response | None:
        if request.path != SUBMIT_PATH and not _has_id(request):
            return _NOT_FOUND
        operation = operation_of(request)
        if operation is Operation.NONE:
            return _ONLY_POST if request.path == SUBMIT_PATH else _ONLY_GET
        if request.declared > self.max_body:
            return _TOO_LARGE
        if not request.is_authorized(self._settings.authorization):
            return UNAUTHORIZED
        if operation is Operation.SUBMIT and request.is_coded():
            return CODED
        return MEDIA_TYPE if operation is Operation.SUBMIT and not _is_json(request) else None

    def _taken(
        self, request: Request, answer: Callable[[Response], None], id_: str, result: SubmitResult | Exception
    ) -> None:
        self._in_flight -= 1
        if isinstance(result, Exception):
            answer(failure(result, request))
        else:
            answer(result_answer(id_, result))

    def _shown(
        self, request: Request, answer: Callable[[Response], None], found: bytes | Unknown | Exception
    ) -> None:
        if isinstance(found, Exception):
            answer(failure(found, request))
        else:
            answer(shown_answer(found))


def operation_of(request: Request) -> Operation:
    """Return the operation of a request, by its path and method."""
    if request.path == SUBMIT_PATH:
        return Operation.SUBMIT if request.method == "POST" else Operation.NONE
    is_show = _has_id(request) and request.method in {"GET", "HEAD"}
    return Operation.SHOW if is_show else Operation.NONE


def _has_id(request: Request) -> bool:
    return request.path.startswith(_COMMAND_PATH) and request.path != _COMMAND_PATH


def _is_json(request: Request) -> bool:
    """Require a JSON content type: a web page of another origin can post without one, but not with JSON's."""
    return b"content-type" in request.fields and request.is_json()


def _submitted(request: Request, key: str | None) -> SubmittedCommand:
    traceparent = request.fields.get(b"traceparent")
    return SubmittedCommand(
        body=bytes(request.body),
        key=key,
        traceparent=None if traceparent is None else traceparent.decode("ascii", "replace"),
        client=request.peer,
    )
