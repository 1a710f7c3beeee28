"""The actions that a notification asks for, and what it is sent back for each: see `bridge.ingest.notification`.

An action is data. None is frozen: a webhook makes four, and a frozen one takes three times as long to make.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from bridge.domain.errors import InvalidNotification
    from bridge.domain.events import Event
    from bridge.domain.evidence import Evidence
    from bridge.domain.receipts import SentSubmission
    from bridge.ports.http_results import NotificationResult


@dataclass(slots=True)
class RejectBody:
    """Answer that the body is no notification. Comes back with nothing, at once."""

    error: InvalidNotification


@dataclass(slots=True)
class RecordEvidence:
    """Have the ledger learn that the provider has sent a message. Comes back with nothing, at once."""

    evidence: Evidence


@dataclass(slots=True)
class CheckSubscriptions:
    """Have the subscriptions checked: one was cancelled. Comes back with nothing, at once."""

    event_id: str


@dataclass(slots=True)
class FindOwner:
    """Ask the ledger which submission was sent as this message of the provider's.

    Comes back with `Owner`; None where the ledger does not answer soon.
    """

    message_id: str


@dataclass(slots=True)
class Owner:
    """The ledger's answer about a message."""

    #: None where the message is not ours.
    sent: SentSubmission | None


@dataclass(slots=True)
class WaitForRecord:
    """Wait so many seconds, and at most the given share of the time that the request has left.

    Comes back with nothing.
    """

    seconds: float
    share: float


@dataclass(slots=True)
class FindRepeat:
    """Find out whether it is an event already, by any of its ids.

    Comes back with those of the ids that are remembered, none where the ledger does not answer soon; or with the result
    of the same event, where that was under way, or of one too many.
    """

    ids: Sequence[str]


@dataclass(slots=True)
class MakeDurable:
    """Have the broker or the spool take the event.

    Comes back with whether either has it, once that is certain, and be it after the request was given up.
    """

    event: Event


@dataclass(slots=True)
class Respond:
    """Answer the request. Comes back with nothing, at once."""

    result: NotificationResult


@dataclass(slots=True)
class Remember:
    """Remember a durable event: here at once, in the ledger soon. Comes back with nothing, at once."""

    ids: Sequence[str]
    #: Ids for the ledger alone, which no notification is looked up by.
    also: Sequence[str]


#: These come before it is looked for a repeat.
Preparation: TypeAlias = RejectBody | RecordEvidence | CheckSubscriptions | FindOwner | WaitForRecord
#: These make an event durable, however it came.
EventAction: TypeAlias = FindRepeat | MakeDurable | Respond | Remember
NotificationAction: TypeAlias = Preparation | EventAction
#: Yields actions, and is sent what came of each.
NotificationSteps: TypeAlias = "Generator[NotificationAction, Any, None]"
EventSteps: TypeAlias = "Generator[EventAction, Any, None]"
