"""Verdicts: the results of a claim."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from bridge.domain.evidence import Window
    from bridge.domain.ledger.records import StoredEvent
    from bridge.domain.outcomes import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The submission is claimed for a call to the provider."""

    #: Attempts before this call.
    attempts: int
    first_attempt_at: float
    #: The version of this delivery from now on: a new one if it replaces a copy that never came.
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """The submission is claimed for a history lookup."""

    version: int
    #: The window of its attempts; None if the provider's history is unbounded, so that absence needs no further proof.
    window: Window | None = field(default=None, compare=False)
    #: No message of the submission is older, in seconds since the epoch.
    since: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HasOutcome:
    """The submission has an outcome: publish it, possibly again."""

    outcome: Outcome
    stored_event: StoredEvent
    #: Whether this claim has recorded it.
    fresh: bool = False
    #: Whether it ended the replay that this delivery began. The dead letter before the replay is gone, and the worker
    #: that recorded the outcome may not have published a new one.
    own: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NotBefore:
    """The submission can't be claimed before `at`, in seconds since the epoch."""

    at: float
    #: Whether the submission waits for this delivery, rather than for another one.
    own: bool
    #: Whether it waits for a rate limit, with a reservation.
    limited: bool = False
    #: The version of this delivery from now on, if it is `own`.
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another command has this id, with other content."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """The outcome was published before this copy was made: the delivery has nothing left to do."""


Verdict: TypeAlias = Call | Lookup | HasOutcome | NotBefore | Conflict | Superseded
