"""What sending comes to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.client.events import Outcome


@dataclass(frozen=True, slots=True)
class Sent:
    """A command that the broker has confirmed: it is on disk there, and its outcome will follow as an event."""

    id: str
    #: How many, and so how many outcomes.
    destinations: int


@dataclass(frozen=True, slots=True)
class Result:
    """The outcomes of a command, in the order of its destinations."""

    sent: Sent
    outcomes: tuple[Outcome, ...] = field(repr=False)

    @property
    def is_sent(self) -> bool:
        """Whether the provider has taken the message to every destination."""
        return len(self.outcomes) == self.sent.destinations and all(one.is_sent for one in self.outcomes)
