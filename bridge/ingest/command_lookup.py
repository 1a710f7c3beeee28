"""Lookups of commands in the ledger, on a separate thread, for an event loop that must not block.

A caller gets an answer within its timeout. While one question takes the ledger longer than that, or shortly after the
ledger was unavailable, further questions are answered with UNAVAILABLE at once. The number of waiting questions is
bounded.
"""

from __future__ import annotations

import queue
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from bridge.concurrency.background_worker import StoreWorker
from bridge.concurrency.event_loop import Deadlines, LoopCaller
from bridge.ports import LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.ledger import CommandRecord
    from bridge.ports import Clock

T = TypeVar("T")

#: Questions that wait for the ledger.
WAITING = 64
#: Seconds until the ledger is asked again after it could not be.
PAUSE = 2.0


class Records(Protocol):
    """The ledger, to look at: `bridge.adapters.store.reader.LedgerReader`. Every call may raise LedgerUnavailable."""

    def command(self, command_id: str) -> CommandRecord | None:
        """Return a command with all its submissions."""
        ...

    def content_hash(self, command_id: str) -> bytes | None:
        """Return what a command's content is known by; None where there is no such command."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...


class NoAnswer(Enum):
    """The ledger has not answered, for now."""

    UNAVAILABLE = "away"


UNAVAILABLE = NoAnswer.UNAVAILABLE


class _Question:
    """A lookup that waits for its answer."""

    __slots__ = ("answered", "ask", "is_over")

    def __init__(self, ask: Callable[[Records], Any], answered: Callable[[Any], None]) -> None:
        self.ask = ask
        self.answered = answered
        #: Whether its deadline has passed: its caller has been answered.
        self.is_over = False


class Lookups(StoreWorker[Records]):
    """Worker thread for the lookups of one event loop; after a stop it answers no more of them."""

    def __init__(
        self,
        open_records: Callable[[], Records],
        *,
        clock: Clock,
        waiting: int = WAITING,
        pause: float = PAUSE,
    ) -> None:
        """`open_records` may raise LedgerUnavailable; beyond `waiting` questions others are not answered."""
        super().__init__("lookups", open_records)
        self._clock = clock
        self._unavailable_for = pause
        self._questions: queue.Queue[tuple[_Question, LoopCaller]] = queue.Queue(waiting)
        self._deadlines: Deadlines[_Question] = Deadlines(self._give_up)
        self._caller: LoopCaller | None = None
        #: Until when it is not asked, and since when it thinks about one question: `Clock.monotonic` seconds.
        self._unavailable_until = -1.0
        self._busy_since: float | None = None

    def ask(
        self,
        ask: Callable[[Records], T],
        answered: Callable[[T | NoAnswer | Exception], None],
        *,
        timeout: float,
    ) -> None:
        """Call `answered` with the result of `ask`, or with UNAVAILABLE, within `timeout` seconds.

        An unexpected exception of `ask` is passed to `answered`.
        """
        now = self._clock.monotonic()
        busy_since = self._busy_since
        question = _Question(ask, answered)
        if now < self._unavailable_until or (busy_since is not None and now - busy_since > timeout):
            answered(UNAVAILABLE)
            return
        self._caller = caller = LoopCaller.here(self._caller)
        try:
            self._questions.put_nowait((question, caller))
        except queue.Full:
            answered(UNAVAILABLE)
            return
        self.wake()
        self._deadlines.set(question, caller.loop.time() + timeout)

    def _give_up(self, question: _Question) -> None:
        question.is_over = True
        question.answered(UNAVAILABLE)

    def _answer(self, answered: tuple[_Question, object]) -> None:
        question, answer = answered
        if self._deadlines.clear(question):
            question.answered(answer)

    # --- the thread ----------------------------------------------------------------------------------------------

    def run_once(self) -> float:
        """Answer the next question."""
        try:
            question, caller = self._questions.get_nowait()
        except queue.Empty:
            return inf
        if not question.is_over:
            self._busy_since = self._clock.monotonic()
            answer = self._find(question)
            self._busy_since = None
            caller.call(self._answer, (question, answer))
        return 0.0

    def _find(self, question: _Question) -> object:
        if self._clock.monotonic() < self._unavailable_until:
            return UNAVAILABLE
        try:
            return question.ask(self.store)
        except LedgerUnavailable as e:
            # Begin anew a little later: the ledger may be another one then, or have other tables.
            self._unavailable_until = self._clock.monotonic() + self._unavailable_for
            self.close()
            self.warn("ledger.unavailable", reason=str(e), hint="commands are taken and not shown")
            return UNAVAILABLE
        except Exception as mistake:  # noqa: BLE001 - it is handed on
            return mistake
