"""What is answered at the door for commands, by what became of one (docs/messages.md)."""

from __future__ import annotations

import json
import re
from enum import Enum, auto
from urllib.parse import quote

from bridge.adapters.http.answers import Answer, problem
from bridge.core.contracts.submit import PATH
from bridge.core.errors import Invalid, InvalidCommand

#: Seconds after which a client may come again.
RETRY_AFTER = 5


class Fate(Enum):
    """What became of a valid command."""

    #: The broker has confirmed it.
    QUEUED = auto()
    #: The ledger knows another one by its id.
    CONFLICTING = auto()
    #: The broker has no queue for commands.
    UNROUTABLE = auto()
    #: It did not confirm in time.
    UNCONFIRMED = auto()
    #: It takes nothing now; the command never left.
    AWAY = auto()


class Unknown(Enum):
    """Why nothing is shown of a command."""

    #: The ledger does not know it.
    UNKNOWN = auto()
    #: The ledger can't be asked now.
    AWAY = auto()


_LATER = {"retry-after": str(RETRY_AFTER)}
_AGAIN = "Hand it over again with the same id: it is one command, however often it comes."
BUSY = problem(503, _LATER, detail=f"Too many commands wait for the broker, or this process ends. {_AGAIN}")
_FATES = {
    Fate.CONFLICTING: problem(409, detail="Another command has this id, with other content."),
    Fate.UNROUTABLE: problem(
        503,
        _LATER,
        detail=f"The broker has no queue for commands: the bridge's topology is not there. {_AGAIN}",
    ),
    Fate.UNCONFIRMED: problem(
        503,
        _LATER,
        detail=f"The broker has not confirmed it in time: it may be on the queue or not. {_AGAIN}",
    ),
    Fate.AWAY: problem(503, _LATER, detail=f"The broker takes no commands now. {_AGAIN}"),
}
_SHOWN = {"content-type": "application/json", "cache-control": "no-store"}
_UNKNOWNS = {
    Unknown.UNKNOWN: problem(
        404,
        {"cache-control": "no-store"},
        detail=(
            "The ledger knows no command of this id. It may still wait on the queue; else it was never handed over, "
            "was not valid, or ended so long ago that it is forgotten."
        ),
    ),
    Unknown.AWAY: problem(
        503, _LATER, detail="The ledger can't be asked now. What is on the queue goes on all the same."
    ),
}

#: The name that a reason begins with, and its place in an array.
_FIELD = re.compile(r"([a-z_]+)(?:\[(\d+)\])?")


def fate_answer(id_: str, fate: Fate) -> Answer:
    """Answer who handed a command over."""
    if fate is not Fate.QUEUED:
        return _FATES[fate]
    headers = {"location": f"{PATH}/{quote(id_, safe='')}", "content-type": "application/json"}
    return Answer(202, headers, json.dumps({"id": id_}).encode())


def invalid_answer(error: Invalid) -> Answer:
    """Answer with every reason; those of a command's fields say which by a JSON Pointer (RFC 9457 section 3)."""
    if not isinstance(error, InvalidCommand):
        return problem(400, detail=str(error))
    errors = [{"pointer": _pointer(reason), "detail": reason} for reason in error.reasons]
    return problem(422, detail="The command is not valid.", errors=errors)


def shown_answer(found: bytes | Unknown) -> Answer:
    """Answer who asks for a command."""
    return _UNKNOWNS[found] if isinstance(found, Unknown) else Answer(200, _SHOWN, found)


def status_of(fate: Fate | Unknown | None) -> int:
    """Return the status that is answered; None stands for a command that is shown."""
    if fate is None:
        return 200
    if isinstance(fate, Unknown):
        return _UNKNOWNS[fate].status
    return 202 if fate is Fate.QUEUED else _FATES[fate].status


def _pointer(reason: str) -> str:
    """Return where in the command a reason's field is, in the canonical spelling of its name (RFC 6901 section 6)."""
    field = _FIELD.match(reason)
    return "#" if field is None else "#/" + "/".join(part for part in field.groups() if part is not None)
