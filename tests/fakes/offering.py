"""A broker that is offered messages, and answers as the test likes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.ports import Offered

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.messages import Outgoing


class FakeOffering:
    """Fills `bridge.ports.Offering`."""

    def __init__(self, answer: Offered | None = Offered.TAKEN) -> None:
        """Answer each offer with `answer`; with none, only when the test says so (`told`)."""
        self.answer = answer
        self.available = True
        #: Every message offered, in order, and who is to be told of it.
        self.offered: list[Outgoing] = []
        self.told: list[Callable[[Offered], None]] = []

    def offer(self, message: Outgoing, told: Callable[[Offered], None], *, until: float) -> None:
        """Take the message, and answer."""
        self.offered.append(message)
        self.told.append(told)
        if self.answer is not None:
            told(self.answer)
