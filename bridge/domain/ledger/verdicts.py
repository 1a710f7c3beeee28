"""What a claim comes to: call, look, tell, or come again later."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from bridge.domain.evidence import Window
    from bridge.domain.ledger.records import StoredEvent
    from bridge.domain.outcomes import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The submission is claimed: call the provider. What is known of it so far comes along."""

    attempts: int
    first_attempt_at: float
    #: The version this delivery carries from now on: a new one where it took the place of a copy that never came.
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """The submission is claimed: see whether the provider has it."""

    version: int
    #: Of its attempts; None where what the provider keeps has no bound, and absence needs no more proof.
    window: Window | None = field(default=None, compare=False)
    #: Nothing of its own is older, in seconds since the epoch.
    since: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HasOutcome:
    """There is an outcome: tell it (again)."""

    outcome: Outcome
    stored_event: StoredEvent
    #: Whether it was filed just now, by this claim.
    fresh: bool = False
    #: Whether it ended the life that this delivery, a dead letter sent back, had begun: whoever filed it may have left
    #: no dead letter for it, and the one before is gone.
    own: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NotBefore:
    """Not now: look again at `at`. `own` says that this delivery is the one the submission waits for."""

    at: float
    own: bool
    #: Whether the rate limits have it wait: its slot is granted.
    limited: bool = False
    #: The version this delivery carries from now on, where it is its own.
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another command has this id, with other content."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """There is an outcome, and it was told before this copy was made: nothing is left to do."""


Verdict: TypeAlias = Call | Lookup | HasOutcome | NotBefore | Conflict | Superseded
