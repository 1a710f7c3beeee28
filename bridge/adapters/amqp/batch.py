"""Commands that one caller waits for: for the broker's answers, and for the outcomes of one that awaits them."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from bridge.adapters.amqp.replies import are_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bridge.domain.messages import Outgoing


class BrokerAnswer(enum.Enum):
    """The broker's answer to a command."""

    CONFIRMED = enum.auto()
    #: There is no such exchange.
    LACKING = enum.auto()
    #: The exchange is there, and no queue is bound for it.
    RETURNED = enum.auto()
    #: A nack: a queue that is full, or has lost its disk or its majority.
    REFUSED = enum.auto()


@dataclass(slots=True, eq=False)
class Sending:
    """A command on its way to its confirm, and on to its outcomes where they are awaited."""

    message: Outgoing = field(repr=False)
    #: How many outcomes are awaited; 0 for none. They come by the message's `correlation_id`.
    awaits: int = 0
    answer: BrokerAnswer | None = None
    #: How often it was written to the broker; never: that certainly has not got it.
    writings: int = 0
    #: The outcomes so far by their event ids: who asks twice is told twice.
    outcomes: dict[object, Mapping[str, Any]] = field(default_factory=dict, repr=False)

    @property
    def may_be_there(self) -> bool:
        """Whether the broker may have it though it did not confirm it.

        A return or a nack speaks of the last writing alone, and of an earlier one the confirm may have been lost.
        """
        is_of_the_last = self.answer in {BrokerAnswer.RETURNED, BrokerAnswer.REFUSED}
        return self.writings > int(is_of_the_last)

    @property
    def is_complete(self) -> bool:
        """Whether all outcomes are there."""
        return are_all(self.outcomes.values(), self.awaits)


class Signal(Protocol):
    """Wakes the caller of a batch: a `threading.Event`, or one of an event loop. Set from any thread, also twice."""

    def set(self) -> object:
        """Wake the caller; returns at once and never raises."""
        ...


class Batch:
    """Commands that one caller waits for, by the signals that it gave."""

    def __init__(self, sendings: Sequence[Sending], *, answered: Signal, ended: Signal) -> None:
        """`answered` is set once the broker has answered all; `ended` once all awaited outcomes are there.

        Both are set where the sender ends first.
        """
        self.sendings = sendings
        #: Whether the caller has stopped waiting: nothing of it is written again.
        self.given_up = False
        self._left = len(sendings)
        self._answered, self._ended = answered, ended

    def answer(self, sending: Sending, answer: BrokerAnswer) -> None:
        """Note the broker's first answer to one; what is published again for its outcomes' sake gets another."""
        if sending.answer is None:
            sending.answer = answer
            self._left -= 1
            if not self._left:
                self._answered.set()

    def add_outcome(self, sending: Sending, outcome: Mapping[str, Any]) -> None:
        """Note an outcome."""
        # Another dict in place of this one, which its reader may be walking through.
        sending.outcomes = {**sending.outcomes, outcome.get("id"): outcome}
        if sending.is_complete:
            self._ended.set()

    def end(self) -> None:
        """Wake the caller: no further answer follows."""
        self._answered.set()
        self._ended.set()
