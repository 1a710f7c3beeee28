"""A memory of notifications without a ledger or a thread."""

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
    """Stands for `bridge.ingest.memory.NotificationMemory`."""

    def __init__(self, *, away: bool = False, timeout: float = 20.0) -> None:
        self.noted: list[str] = []
        #: Submissions by their messages' ids.
        self.sent: dict[str, SentSubmission] = {}
        #: While set, the ledger can not be asked.
        self.away = away
        #: While set, questions wait.
        self.hangs = False
        self.waiting: list[Question] = []
        self.timeout = timeout

    def ask(self, question: Question) -> object:
        """Answer a question at once, or never where the ledger hangs."""
        if self.away:
            return None
        if self.hangs:
            self.waiting.append(question)
            return LATER
        return self._answer(question)

    def go(self) -> None:
        """Answer all that wait."""
        self.hangs = False
        waiting, self.waiting = self.waiting, []
        for question in waiting:
            question.answered(self._answer(question))

    def time_out(self) -> None:
        """Take the ledger for away."""
        self.away = True

    def note(self, ids: Sequence[str], also: Sequence[str], _: LoopCaller) -> None:
        """Note the ids."""
        self.noted.extend([*ids, *also])

    def _answer(self, question: Question) -> Owner | list[str]:
        if question.kind == "owner":
            return Owner(self.sent.get(question.ids[0]))
        return [id_ for id_ in question.ids if id_ in self.noted]
