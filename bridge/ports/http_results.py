"""Results that the HTTP servers turn into responses: of notifications, of commands, and of health checks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.errors import InvalidNotification


class NotificationResult(Enum):
    """The result of a notification."""

    #: Its event is durable now: at the broker, or in the spool.
    PUBLISHED = auto()
    #: Its event was published before.
    REPEATED = auto()
    #: The event is not durable: the provider has to repeat the notification.
    REFUSED = auto()


#: Called with the result of a notification, with the reason why it is not valid, or with an internal error.
NotificationAnswered: TypeAlias = "Callable[[NotificationResult | InvalidNotification | Exception], None]"


class SubmitResult(Enum):
    """The result of a valid command that was submitted over HTTP."""

    #: The broker has confirmed the command.
    QUEUED = auto()
    #: The ledger has another command with the same id.
    CONFLICTING = auto()
    #: The broker has no queue for commands.
    UNROUTABLE = auto()
    #: The broker did not confirm the command in time.
    UNCONFIRMED = auto()
    #: The broker is unavailable; the command was not published.
    UNAVAILABLE = auto()


class Unknown(Enum):
    """The reason why a command cannot be shown."""

    #: The ledger does not have the command.
    UNKNOWN = auto()
    #: The ledger cannot be read now.
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
    """Return the HTTP status of a result; None means that the command is shown."""
    return _STATUSES[result]


class Operation(Enum):
    """The operation of the command API that a request is for."""

    SUBMIT = "submit"
    SHOW = "show"
    #: No operation of the API.
    NONE = "none"


#: Called with the command's id and its result, or with an internal error.
CommandAnswered: TypeAlias = "Callable[[str, SubmitResult | Exception], None]"
#: Called with the command's state as JSON, with the reason why it cannot be shown, or with an internal error.
CommandShown: TypeAlias = "Callable[[bytes | Unknown | Exception], None]"


class Reason(NamedTuple):
    """One condition of readiness; `detail` is for people, in the bridge's own words."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the process is ready, with the reasons. A reason that is not `ok` may still be only informative."""

    ready: bool
    reasons: tuple[Reason, ...] = ()


class Process(NamedTuple):
    """The state of one process of a supervisor."""

    number: int
    #: The process's admin port; None until it listens.
    port: int | None
    #: The state, for people.
    detail: str
