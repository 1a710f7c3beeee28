"""The results that HTTP servers answer: of notifications, of commands, and of how a process is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.errors import InvalidNotification


class NotificationResult(Enum):
    """The result of a notification."""

    #: It is an event now: with the broker, or in the spool.
    PUBLISHED = auto()
    #: It was one already.
    REPEATED = auto()
    #: Neither, or not yet: it has to come again.
    REFUSED = auto()


#: Called with what became of a notification, with why it is none, or with an error of ours.
NotificationAnswered: TypeAlias = "Callable[[NotificationResult | InvalidNotification | Exception], None]"


class SubmitResult(Enum):
    """The result of a valid command that was submitted over HTTP."""

    #: The broker has confirmed it.
    QUEUED = auto()
    #: The ledger knows another one by its id.
    CONFLICTING = auto()
    #: The broker has no queue for commands.
    UNROUTABLE = auto()
    #: It did not confirm in time.
    UNCONFIRMED = auto()
    #: It takes nothing now; the command never left.
    UNAVAILABLE = auto()


class Unknown(Enum):
    """Why nothing is shown of a command."""

    #: The ledger does not know it.
    UNKNOWN = auto()
    #: The ledger can't be asked now.
    UNAVAILABLE = auto()


_STATUSES: dict[SubmitResult | Unknown | None, int] = {
    None: 200,
    SubmitResult.QUEUED: 202,
    SubmitResult.CONFLICTING: 409,
    SubmitResult.UNROUTABLE: 503,
    SubmitResult.UNCONFIRMED: 503,
    SubmitResult.UNAVAILABLE: 503,
    Unknown.UNKNOWN: 404,
    Unknown.UNAVAILABLE: 503,
}


def status_of(result: SubmitResult | Unknown | None) -> int:
    """Return the HTTP status of a result; None stands for a command that is shown."""
    return _STATUSES[result]


class Operation(Enum):
    """The operation of the command API that a request is for."""

    SUBMIT = "submit"
    SHOW = "show"
    #: There is no such operation.
    NONE = "none"


#: Called with the command's id and its result, or with an error of ours.
CommandAnswered: TypeAlias = "Callable[[str, SubmitResult | Exception], None]"
#: Called with what is known, as JSON, or why nothing is, or with an error of ours.
CommandShown: TypeAlias = "Callable[[bytes | Unknown | Exception], None]"


class Reason(NamedTuple):
    """One condition of readiness; `detail` is for people, in words of our own."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether work may be sent here, and by which reasons. A reason may be not ok and only reported."""

    ready: bool
    reasons: tuple[Reason, ...] = ()


class Process(NamedTuple):
    """The state of one of a supervisor's processes."""

    number: int
    #: The port of its own admin port; None while there is none.
    port: int | None
    #: How it is, for people.
    detail: str
