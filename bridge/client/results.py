"""The results of sending."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from bridge.client.errors import NoOutcomeYet, OutcomeError

if TYPE_CHECKING:
    from bridge.client.events import Outcome


@dataclass(frozen=True, slots=True)
class Sent:
    """A command that the broker has confirmed: it is on disk there, and its outcome will follow as an event."""

    id: str
    #: How many, and so how many outcomes.
    destinations: int


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """The outcomes of a command, in the order of its destinations. Its `repr` shows neither text nor number."""

    sent: Sent
    outcomes: tuple[Outcome, ...]

    @property
    def status(self) -> str:
        """The status that all outcomes have, such as `sent` or `rejected`; `mixed` where they differ.

        `pending` while an outcome is missing (in `NoOutcomeYet.result` alone).
        """
        # One outcome without an index stands for all destinations.
        if len(self.outcomes) < self.sent.destinations and all(
            one.index is not None for one in self.outcomes
        ):
            return "pending"
        statuses = {one.status for one in self.outcomes}
        return statuses.pop() if len(statuses) == 1 else "mixed"

    @property
    def is_sent(self) -> bool:
        """Whether the provider has taken the message to every destination."""
        return self.status == "sent"

    def raise_for_status(self) -> Self:
        """Return itself where the provider has taken the message to every destination.

        Raises:
            OutcomeError: at least one outcome is not `sent`.
            NoOutcomeYet: an outcome is missing.

        """
        if self.status == "pending":
            raise NoOutcomeYet(self)
        if not self.is_sent:
            raise OutcomeError(self)
        return self

    def __repr__(self) -> str:
        outcomes = ", ".join(one.summary for one in self.outcomes)
        return f"Result(id={self.sent.id!r}, status={self.status!r}, outcomes=[{outcomes}])"
