"""The responses of the command API, by the result of the command (docs/messages.md)."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

from bridge.adapters.http.server.response import Response, problem
from bridge.domain.contracts.commands import SUBMIT_PATH
from bridge.domain.errors import CommandInvalid, Invalid
from bridge.ports.http_results import SubmitResult, Unknown, status_of

#: Seconds in the `Retry-After` of a 503.
RETRY_AFTER = 5


_LATER = {"retry-after": str(RETRY_AFTER)}
_AGAIN = "Submit it again with the same id: repeats with one id are one command."
BUSY = problem(
    503, _LATER, detail=f"Too many commands wait for the broker, or this process is stopping. {_AGAIN}"
)
_RESULTS = {
    SubmitResult.CONFLICTING: problem(
        status_of(SubmitResult.CONFLICTING), detail="Another command has this id and different content."
    ),
    SubmitResult.UNROUTABLE: problem(
        status_of(SubmitResult.UNROUTABLE),
        _LATER,
        detail=f"The broker has no queue for commands: the bridge's topology is missing. {_AGAIN}",
    ),
    SubmitResult.UNCONFIRMED: problem(
        status_of(SubmitResult.UNCONFIRMED),
        _LATER,
        detail=f"The broker did not confirm the command in time: it may be in the queue or not. {_AGAIN}",
    ),
    SubmitResult.UNAVAILABLE: problem(
        status_of(SubmitResult.UNAVAILABLE), _LATER, detail=f"The broker accepts no commands now. {_AGAIN}"
    ),
}
_SHOWN = {"content-type": "application/json", "cache-control": "no-store"}
_UNKNOWNS = {
    Unknown.UNKNOWN: problem(
        status_of(Unknown.UNKNOWN),
        {"cache-control": "no-store"},
        detail=(
            "The ledger has no command with this id. It may still wait in the queue. Otherwise it was never submitted, "
            "was not valid, or was pruned after the ledger's retention."
        ),
    ),
    Unknown.UNAVAILABLE: problem(
        status_of(Unknown.UNAVAILABLE),
        _LATER,
        detail="The ledger is unavailable now. Commands in the queue are still processed.",
    ),
}

#: The field that a reason begins with, and its index in an array.
_FIELD = re.compile(r"([a-z_]+)(?:\[(\d+)\])?")


def result_answer(id_: str, result: SubmitResult) -> Response:
    """Return the response to a submitted command."""
    if result is not SubmitResult.QUEUED:
        return _RESULTS[result]
    headers = {"location": f"{SUBMIT_PATH}/{quote(id_, safe='')}", "content-type": "application/json"}
    return Response(202, headers, json.dumps({"id": id_}).encode())


def invalid_answer(error: Invalid) -> Response:
    """Return the response to an invalid command, with a JSON Pointer to each reason's field (RFC 9457 section 3)."""
    if not isinstance(error, CommandInvalid):
        return problem(400, detail=str(error))
    errors = [{"pointer": _pointer(reason), "detail": reason} for reason in error.reasons]
    return problem(422, detail="The command is not valid.", errors=errors)


def shown_answer(found: bytes | Unknown) -> Response:
    """Return the response to a request for a command."""
    return _UNKNOWNS[found] if isinstance(found, Unknown) else Response(200, _SHOWN, found)


def _pointer(reason: str) -> str:
    """Return a JSON Pointer to a reason's field (RFC 6901 section 6), by the canonical name of the field."""
    field = _FIELD.match(reason)
    return "#" if field is None else "#/" + "/".join(part for part in field.groups() if part is not None)
