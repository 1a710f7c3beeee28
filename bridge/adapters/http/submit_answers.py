"""The responses of the command API, by the result of a command (docs/messages.md)."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

from bridge.adapters.http.server.response import Response, problem
from bridge.domain.contracts.commands import SUBMIT_PATH
from bridge.domain.errors import CommandInvalid, Invalid
from bridge.ports.http_results import SubmitResult, Unknown, status_of

#: Seconds after which a client may come again.
RETRY_AFTER = 5


_LATER = {"retry-after": str(RETRY_AFTER)}
_AGAIN = "Hand it over again with the same id: it is one command, however often it comes."
BUSY = problem(503, _LATER, detail=f"Too many commands wait for the broker, or this process ends. {_AGAIN}")
_RESULTS = {
    SubmitResult.CONFLICTING: problem(
        status_of(SubmitResult.CONFLICTING), detail="Another command has this id, with other content."
    ),
    SubmitResult.UNROUTABLE: problem(
        status_of(SubmitResult.UNROUTABLE),
        _LATER,
        detail=f"The broker has no queue for commands: the bridge's topology is not there. {_AGAIN}",
    ),
    SubmitResult.UNCONFIRMED: problem(
        status_of(SubmitResult.UNCONFIRMED),
        _LATER,
        detail=f"The broker has not confirmed it in time: it may be on the queue or not. {_AGAIN}",
    ),
    SubmitResult.UNAVAILABLE: problem(
        status_of(SubmitResult.UNAVAILABLE), _LATER, detail=f"The broker takes no commands now. {_AGAIN}"
    ),
}
_SHOWN = {"content-type": "application/json", "cache-control": "no-store"}
_UNKNOWNS = {
    Unknown.UNKNOWN: problem(
        status_of(Unknown.UNKNOWN),
        {"cache-control": "no-store"},
        detail=(
            "The ledger knows no command of this id. It may still wait on the queue; else it was never handed over, "
            "was not valid, or ended so long ago that it is forgotten."
        ),
    ),
    Unknown.UNAVAILABLE: problem(
        status_of(Unknown.UNAVAILABLE),
        _LATER,
        detail="The ledger can't be asked now. What is on the queue goes on all the same.",
    ),
}

#: The name that a reason begins with, and its place in an array.
_FIELD = re.compile(r"([a-z_]+)(?:\[(\d+)\])?")


def result_answer(id_: str, result: SubmitResult) -> Response:
    """Answer the submission of a command."""
    if result is not SubmitResult.QUEUED:
        return _RESULTS[result]
    headers = {"location": f"{SUBMIT_PATH}/{quote(id_, safe='')}", "content-type": "application/json"}
    return Response(202, headers, json.dumps({"id": id_}).encode())


def invalid_answer(error: Invalid) -> Response:
    """Answer with every reason; those of a command's fields say which by a JSON Pointer (RFC 9457 section 3)."""
    if not isinstance(error, CommandInvalid):
        return problem(400, detail=str(error))
    errors = [{"pointer": _pointer(reason), "detail": reason} for reason in error.reasons]
    return problem(422, detail="The command is not valid.", errors=errors)


def shown_answer(found: bytes | Unknown) -> Response:
    """Answer a request for a command."""
    return _UNKNOWNS[found] if isinstance(found, Unknown) else Response(200, _SHOWN, found)


def _pointer(reason: str) -> str:
    """Return where in the command a reason's field is, in the canonical spelling of its name (RFC 6901 section 6)."""
    field = _FIELD.match(reason)
    return "#" if field is None else "#/" + "/".join(part for part in field.groups() if part is not None)
