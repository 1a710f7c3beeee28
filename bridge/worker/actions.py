"""Actions that a delivery yields, and their results: see `bridge.worker.delivery`.

An action is a value. As in `bridge.ingest.actions`, the classes are not frozen: a command creates eleven actions, and a
frozen one takes three times as long to create. Times are in seconds since the epoch unless stated otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from bridge.domain.events import Event
    from bridge.domain.evidence import HistoryExtract, Window
    from bridge.domain.ledger import Change, RecordedResult, StoredEvent, Verdict
    from bridge.domain.outcomes import Outcome
    from bridge.domain.submissions import Attempted, Submission

T = TypeVar("T")


@dataclass(slots=True)
class FindCommand:
    """Ask the ledger whether it knows a command.

    Result: the content hash that the command was recorded with, empty for an unknown one; None if the ledger could not
    be read or the delivery was requeued.
    """

    command_id: str


@dataclass(slots=True)
class Fork:
    """Run branches concurrently, in any order. Result: `Joined`, once all have ended."""

    branches: Sequence[Steps[None]]


@dataclass(slots=True)
class Joined:
    """All branches have ended."""

    #: Whether the broker has requeued the delivery, because its connection was lost.
    lost: bool
    now: float


@dataclass(slots=True)
class ClaimSubmission:
    """Claim a submission, once the provider may be called. Result: `Claimed`."""

    index: int


@dataclass(slots=True)
class Claimed:
    """The ledger's verdict on a claim."""

    #: None if there was no claim: the ledger refused the change, the worker stops, or the delivery is lost.
    verdict: Verdict | None
    #: The unique name of this claim.
    owner: str
    now: float


@dataclass(slots=True)
class SendSubmission:
    """Call the provider. Result: `Answered`."""

    submission: Submission
    #: Attempts before this call.
    attempts: int


@dataclass(slots=True)
class Answered:
    """The provider's answer to the calls of a submission."""

    attempted: Attempted
    now: float
    #: A draw from [0, 1) for the jitter of the next attempt.
    chance: float


@dataclass(slots=True)
class ReadHistory:
    """Look a submission up in the provider's message history. Result: `HistoryRead`."""

    submission: Submission
    window: Window | None


@dataclass(slots=True)
class HistoryRead:
    """The result of a history lookup."""

    #: None if the history could not be read.
    reading: HistoryExtract | None
    now: float


@dataclass(slots=True)
class RecordResult:
    """Record the result of a claim in the ledger. Result: `Recorded`."""

    index: int
    change: Change


@dataclass(slots=True)
class Recorded:
    """The ledger's reply to a recorded result."""

    #: None if another worker has taken the claim over, or the ledger refused the change.
    result: RecordedResult | None
    now: float


@dataclass(slots=True)
class BeginVersion:
    """Begin the next version of the command, for the copy that is about to be published.

    Result: the version; None if another delivery has begun one.
    """

    changes: Sequence[Change]


@dataclass(slots=True)
class WaitHere:
    """Wait in the worker for the reservation of a rate limit. Result: whether there was capacity to wait."""

    until: float


@dataclass(slots=True)
class Pause:
    """Wait; not at all if the worker stops or the delivery is lost. No result."""

    seconds: float


@dataclass(slots=True)
class PublishOutcome:
    """Publish an outcome's event, the reply, and the dead letter if it is due. No result."""

    index: int
    outcome: Outcome
    stored_event: StoredEvent
    #: Whether a dead letter is due, if the outcome has one.
    dead: bool
    #: Whether this delivery has recorded the outcome.
    fresh: bool


@dataclass(slots=True)
class PublishDeferral:
    """Publish that a submission is retried later. No result."""

    event: Event


@dataclass(slots=True)
class PublishInvalid:
    """Publish that the delivery is not a valid command. No result."""

    #: Whether another command has its id.
    conflict: bool


@dataclass(slots=True)
class PublishCopy:
    """Publish a copy of the command to the delay queues. No result."""

    version: int
    at: float


@dataclass(slots=True)
class ReturnDeadLetter:
    """Publish the delivery to the dead-letter queue that it was moved from. No result."""


@dataclass(slots=True)
class AwaitConfirms:
    """Wait until the broker has confirmed all messages of the delivery. No result."""


@dataclass(slots=True)
class Acknowledge:
    """Acknowledge the delivery. This or `Requeue` is the last action."""


@dataclass(slots=True)
class Requeue:
    """Requeue the delivery."""


#: Actions that are carried out immediately, without a wait.
Publication: TypeAlias = PublishOutcome | PublishDeferral | PublishInvalid | PublishCopy | ReturnDeadLetter
Action: TypeAlias = (
    FindCommand
    | Fork
    | ClaimSubmission
    | SendSubmission
    | ReadHistory
    | RecordResult
    | BeginVersion
    | WaitHere
    | Pause
    | Publication
    | AwaitConfirms
    | Acknowledge
    | Requeue
)
#: A generator that yields actions, is sent the result of each, and returns a `T`.
Steps: TypeAlias = "Generator[Action, Any, T]"
