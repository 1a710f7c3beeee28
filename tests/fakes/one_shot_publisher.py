"""A one-shot publisher that answers as the test specifies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.ports import OneShotResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.messages import Outgoing


class FakeOneShotPublisher:
    """Fills `bridge.ports.OneShotPublisher`."""

    def __init__(self, answer: OneShotResult | None = OneShotResult.TAKEN) -> None:
        """Answer each message with `answer`; if None, the test answers (`answered`)."""
        self.answer = answer
        self.available = True
        #: The messages in order, and the functions that receive their results.
        self.published: list[Outgoing] = []
        self.answered: list[Callable[[OneShotResult], None]] = []

    def publish_once(
        self, message: Outgoing, answered: Callable[[OneShotResult], None], *, until: float
    ) -> None:
        """Take the message, and answer."""
        self.published.append(message)
        self.answered.append(answered)
        if self.answer is not None:
            answered(self.answer)
