"""A store of seen notifications without a ledger or a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.ingest.actions import Owner
from bridge.ingest.memory import LATER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.concurrency.event_loop import LoopCaller
    from bridge.domain.receipts import SentSubmission
    from bridge.ingest.memory import Question


class FakeMemory:
    """A fake of `bridge.ingest.memory.NotificationMemory`."""

    def __init__(self, *, unavailable: bool = False, timeout: float = 20.0) -> None:
        self.noted: list[str] = []
        #: Submissions by the ids of their messages.
        self.sent: dict[str, SentSubmission] = {}
        #: Whether the ledger is unavailable.
        self.unavailable = unavailable
        #: Whether questions stay unanswered until `go`.
        self.hangs = False
        self.waiting: list[Question] = []
        self.timeout = timeout

    def ask(self, question: Question) -> object:
        """Answer a question immediately, or later if the ledger hangs."""
        if self.unavailable:
            return None
        if self.hangs:
            self.waiting.append(question)
            return LATER
        return self._answer(question)

    def go(self) -> None:
        """Answer all waiting questions."""
        self.hangs = False
        waiting, self.waiting = self.waiting, []
        for question in waiting:
            question.answered(self._answer(question))

    def time_out(self) -> None:
        """Make the ledger unavailable."""
        self.unavailable = True

    def note(self, ids: Sequence[str], also: Sequence[str], _: LoopCaller) -> None:
        """Record the ids."""
        self.noted.extend([*ids, *also])

    def _answer(self, question: Question) -> Owner | list[str]:
        if question.kind == "owner":
            return Owner(self.sent.get(question.ids[0]))
        return [id_ for id_ in question.ids if id_ in self.noted]
