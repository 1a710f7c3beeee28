"""Submissions as they go to the provider, and how their calls ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.domain.answers import Answer, ProviderError


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One message to one destination, as it goes to the provider (wire reference 4.1)."""

    command_id: str | None
    index: int
    #: As the provider takes it: E.164 where it can be told, else as the command wrote it.
    destination_address: str = field(repr=False)
    #: The same, or ``default``.
    sender_address: str = field(repr=False)
    message: str = field(repr=False)
    #: W3C trace context of the command, where it has one.
    traceparent: str | None = None
    #: After when it is not submitted any more, in seconds since the epoch; None for never.
    expires_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """How a submission's calls ended."""

    answer: Answer
    #: HTTP calls made for it this time; a repeat after a token's renewal is part of its attempt, and one that found no
    #: connection or no token is an attempt, too. 0 where there was no time for any: then `answer` is `Unsent`, and
    #: says nothing of the provider.
    attempts: int
    #: Why each of them failed that was repeated at once, in their order; the last one's reason is in `answer`.
    repeated: tuple[ProviderError, ...] = ()
