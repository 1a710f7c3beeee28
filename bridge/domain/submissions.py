"""Submissions in the form for the provider, and the results of their calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.domain.answers import Answer, ProviderError


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One message to one destination, in the form for the provider (wire reference 4.1)."""

    command_id: str | None
    index: int
    #: E.164 if it can be derived, else as in the command.
    destination_address: str = field(repr=False)
    #: E.164 or as in the command, or ``default``.
    sender_address: str = field(repr=False)
    message: str = field(repr=False)
    #: The W3C trace context of the command, if it has one.
    traceparent: str | None = None
    #: The latest time for the call, in seconds since the epoch; None for no limit.
    expires_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """The result of a submission's calls."""

    answer: Answer
    #: HTTP calls made this time. A repeat after a token renewal is part of its attempt; a call without a connection or
    #: token counts as an attempt too. 0 if there was no time for a call: then `answer` is `Unsent`, and not from the
    #: provider.
    attempts: int
    #: The errors of the calls that were repeated at once, in their order; the last call's error is in `answer`.
    repeated: tuple[ProviderError, ...] = ()
