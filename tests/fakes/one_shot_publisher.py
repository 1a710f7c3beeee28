"""A broker that is offered messages, and answers as the test likes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.ports import OneShotResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.messages import Outgoing


class FakeOffering:
    """Fills `bridge.ports.OneShotPublisher`."""

    def __init__(self, answer: OneShotResult | None = OneShotResult.TAKEN) -> None:
        """Answer each offer with `answer`; with none, only when the test says so (`answered`)."""
        self.answer = answer
        self.available = True
        #: Every message offered, in order, and who is to be told of it.
        self.offered: list[Outgoing] = []
        self.answered: list[Callable[[OneShotResult], None]] = []

    def publish_once(
        self, message: Outgoing, answered: Callable[[OneShotResult], None], *, until: float
    ) -> None:
        """Take the message, and answer."""
        self.offered.append(message)
        self.answered.append(answered)
        if self.answer is not None:
            answered(self.answer)
