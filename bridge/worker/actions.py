"""The actions that a delivery asks for, and what it is sent back for each: see `bridge.worker.delivery`.

An action is data. None is frozen, as in `bridge.ingest.actions`: a command makes eleven, and a frozen one takes three
times as long to make. Times are in seconds since the epoch unless said otherwise.
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

    Comes back with the content hash that it was taken with, empty for an unknown one; None where the ledger could not
    be asked or the delivery was given back.
    """

    command_id: str


@dataclass(slots=True)
class Fork:
    """Run these side by side, in any order. Comes back with `Joined` once all have ended."""

    branches: Sequence[Steps[None]]


@dataclass(slots=True)
class Joined:
    """All branches have ended."""

    #: Whether the broker has the delivery back, because the connection that it came by was lost.
    lost: bool
    now: float


@dataclass(slots=True)
class ClaimSubmission:
    """Claim a submission once the provider may be called. Comes back with `Claimed`."""

    index: int


@dataclass(slots=True)
class Claimed:
    """What the ledger says of a submission."""

    #: None where nothing could be claimed: the ledger refused the change, the worker stops, or the delivery is lost.
    verdict: Verdict | None
    #: Names this claim and no other.
    owner: str
    now: float


@dataclass(slots=True)
class SendSubmission:
    """Call the provider. Comes back with `Answered`."""

    submission: Submission
    #: Attempts before this call.
    attempts: int


@dataclass(slots=True)
class Answered:
    """How the provider's calls ended."""

    attempted: Attempted
    now: float
    #: A draw from [0, 1) for the jitter of the next attempt.
    chance: float


@dataclass(slots=True)
class ReadHistory:
    """Look a submission up in the provider's message history. Comes back with `HistoryRead`."""

    submission: Submission
    window: Window | None


@dataclass(slots=True)
class HistoryRead:
    """What the history shows; None where it could not be read."""

    reading: HistoryExtract | None
    now: float


@dataclass(slots=True)
class RecordResult:
    """Record in the ledger what became of a claim. Comes back with `Recorded`."""

    index: int
    change: Change


@dataclass(slots=True)
class Recorded:
    """What the ledger recorded; None where another worker has taken the claim over, or the change was refused."""

    result: RecordedResult | None
    now: float


@dataclass(slots=True)
class BeginVersion:
    """Begin the next version of the command, for the copy that is about to be published.

    Comes back with its number; None where another delivery speaks for the command by now.
    """

    changes: Sequence[Change]


@dataclass(slots=True)
class WaitHere:
    """Wait in the worker for a slot of the rate limit. Comes back with whether there was room to wait."""

    until: float


@dataclass(slots=True)
class Pause:
    """Wait so many seconds; not at all where the worker stops or the delivery is lost. Comes back with nothing."""

    seconds: float


@dataclass(slots=True)
class PublishOutcome:
    """Publish an outcome's event, the reply, and the dead letter if it owes one. Comes back with nothing, at once."""

    index: int
    outcome: Outcome
    stored_event: StoredEvent
    #: Whether it owes a dead letter, where its outcome has one.
    dead: bool
    #: Whether it was recorded just now.
    fresh: bool


@dataclass(slots=True)
class PublishDeferral:
    """Publish that a submission is tried again later. Comes back with nothing, at once."""

    event: Event


@dataclass(slots=True)
class PublishInvalid:
    """Publish that the delivery is no valid command. Comes back with nothing, at once."""

    #: Whether another command has its id.
    conflict: bool


@dataclass(slots=True)
class PublishCopy:
    """Publish a copy of the command to the delay queues. Comes back with nothing, at once."""

    version: int
    at: float


@dataclass(slots=True)
class ReturnDeadLetter:
    """Publish the delivery to the dead-letter queue that it was moved from. Comes back with nothing, at once."""


@dataclass(slots=True)
class AwaitConfirms:
    """Wait until the broker has confirmed all that was published for the delivery. Comes back with nothing."""


@dataclass(slots=True)
class Acknowledge:
    """Take the delivery off the queue. The last action, or `Requeue`."""


@dataclass(slots=True)
class Requeue:
    """Put the delivery back on the queue."""


#: These are carried out at once: they come back before anything else happens.
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
#: Yields actions, is sent what came of each, and returns a `T`.
Steps: TypeAlias = "Generator[Action, Any, T]"
