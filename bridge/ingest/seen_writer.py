"""The thread that asks the ledger which notifications are events already, and tells it of new ones.

One thread with connections of its own serves all requests: what they ask while a transaction is on its way makes up the
next one, and while there is much to do it waits a moment for more, since a transaction costs as much as twenty rows. It
is not the thread that writes evidence: that waits for those who send, and a webhook does not.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import structlog

from bridge.ports import LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from bridge.concurrency.relay import Relay
    from bridge.domain.receipts import SentSubmission
    from bridge.ports import Clock, Seen

#: Ids that the ledger is owed; some 150 bytes each. Beyond it the oldest are not noted any more.
OWED = 10_000
#: Questions and events that wait for the ledger, and those that make up one transaction.
WAITING = 10_000
BATCH = 500
#: So many at once show that there is much to do: then more are gathered for the next transaction, for so many seconds.
MANY = 8
GATHERING = 0.002
#: Seconds until the ledger is tried again after it failed.
PAUSE = 2.0
#: Seconds between two log lines that say it is away.
LOG_EVERY = 60.0


#: Those of the ids that are known, or whose the message is; None where the ledger can't tell.
Answer: TypeAlias = "Collection[str] | SentSubmission | None"


# Each is only itself: two may well ask the same. Not frozen, which would make it three times as slow to make.
@dataclass(slots=True, kw_only=True, eq=False)
class Question:
    """Which of an event's ids were noted, or whose a message is."""

    kind: Literal["known", "sent"]
    #: The event's ids, or the message's.
    ids: tuple[str, ...]
    told: Callable[[Answer], None]
    #: The way back to who asks.
    relay: Relay


class Noting:
    """Owns the ledger's memory of notifications. `ask`, `note` and `wake` are an event loop's, the rest is its own."""

    def __init__(
        self,
        open_seen: Callable[[], Seen],
        answered: Callable[[tuple[Question, Answer]], None],
        *,
        clock: Clock,
        on_crash: Callable[[], None],
        pause: float = PAUSE,
    ) -> None:
        """`open_seen` may raise LedgerUnavailable; `answered` is called where the question came from."""
        self._open_seen = open_seen
        self._answered = answered
        self._clock = clock
        self._on_crash = on_crash
        self._pause = pause
        #: Whether it is no use to ask now. Who has lost patience says so, too.
        self.away = False
        #: Set once it was tried to open the ledger.
        self.tried = threading.Event()
        self._asked: deque[Question] = deque()
        self._notes: deque[Sequence[str]] = deque(maxlen=WAITING)
        self._bell = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="seen", daemon=True)
        self._seen: Seen | None = None
        self._owed: dict[str, None] = {}
        self._is_busy = False
        self._logged_at = -LOG_EVERY
        self._log = structlog.get_logger()

    def start(self) -> None:
        """Begin; the ledger may come when it likes."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Tell the ledger what it is owed, if it takes it at once, and end within `timeout` seconds."""
        self._stopping.set()
        self.wake()
        self._thread.join(timeout)

    def ask(self, question: Question) -> bool:
        """Have a question answered at the next `wake`; returns False, and does not, where too many wait."""
        if len(self._asked) >= WAITING:
            return False
        self._asked.append(question)
        return True

    def note(self, ids: Sequence[str]) -> None:
        """Have the ids of an event noted at the next `wake`, or when the ledger is back."""
        self._notes.append(ids)

    def wake(self) -> None:
        """See to what is asked and to be noted: once for all of it, since that is a system call."""
        self._bell.set()

    def _run(self) -> None:
        try:
            self._carry_out([])
            self.tried.set()
            while not (self._stopping.is_set() and (self.away or not (self._asked or self._notes))):
                self._carry_out(self._take())
        except Exception:  # noqa: BLE001 - the outermost loop
            # Nobody waits for it until the process ends.
            self.away = True
            self._log.critical("seen.crashed", exc_info=True)
            self._on_crash()
        if self._seen is not None:
            self._seen.close()

    def _take(self) -> list[Question]:
        """Wait for something, then take what has come with it; where the ledger is away, wait for that to end."""
        if self.away:
            self._stopping.wait(self._pause)
        else:
            while not (self._asked or self._notes or self._stopping.is_set()):
                self._bell.wait()
                # Before it is looked: what is asked from now on rings again.
                self._bell.clear()
            if self._is_busy:
                self._stopping.wait(GATHERING)
        questions = [self._asked.popleft() for _ in range(min(len(self._asked), BATCH))]
        self._is_busy = len(questions) + len(self._notes) >= MANY
        return questions

    def _carry_out(self, questions: Sequence[Question]) -> None:
        """Answer first: somebody waits. With nothing to do the ledger is asked all the same, it may be back."""
        has_notes = self._owe()
        try:
            if self._seen is None:
                self._seen = self._open_seen()
            if questions or not has_notes:
                self._look_up(self._seen, questions)
            self._pay(self._seen)
        except LedgerUnavailable as e:
            self._lost(str(e))
            for question in questions:
                self._reply(question, None)
        else:
            self.away = False

    def _look_up(self, seen: Seen, questions: Sequence[Question]) -> None:
        known = seen.known(
            {id_ for question in questions if question.kind == "known" for id_ in question.ids}
        )
        for question in questions:
            if question.kind == "known":
                self._reply(question, known.intersection(question.ids))
            else:
                self._reply(question, seen.sent(question.ids[0]) or ())

    def _reply(self, question: Question, answer: Answer) -> None:
        question.relay.tell(self._answered, (question, answer))

    def _owe(self) -> bool:
        """Take over what is to be noted; returns whether there was something."""
        has_notes = bool(self._notes)
        while self._notes:
            self._owed.update(dict.fromkeys(self._notes.popleft()))
        for oldest in list(self._owed)[: max(0, len(self._owed) - OWED)]:
            del self._owed[oldest]
        return has_notes

    def _pay(self, seen: Seen) -> None:
        while some := list(self._owed)[:BATCH]:
            seen.note(some, self._clock.now())
            for event_id in some:
                del self._owed[event_id]

    def _lost(self, reason: str) -> None:
        """Have the ledger opened anew: what is there then may be another one, or an older one."""
        self.away = True
        if self._seen is not None:
            self._seen.close()
            self._seen = None
        now = self._clock.monotonic()
        if now - self._logged_at >= LOG_EVERY:
            self._logged_at = now
            self._log.warning(
                "notifications.unchecked",
                reason=reason,
                hint="without the ledger a notification that comes again may be published again, with the same id",
            )
