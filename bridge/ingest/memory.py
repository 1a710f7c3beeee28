"""Remembers which notifications are events already, and knows whose a message is: the ledger's memory, and a short one.

Nothing here may keep a notification from becoming an event. While the ledger is away nothing waits for it: an event
that it was not asked about is published, with the same id as ever, and ids that it was not given wait until it is back.

One thread with its own connections serves all requests: questions that come while a transaction is under way make up
the next one, and while there is much to do it waits a moment for more, since a transaction costs as much as twenty
rows. It is not the thread that records evidence: that one waits for those who send, and a webhook does not.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from bridge.concurrency.background_worker import StoreWorker
from bridge.ingest.actions import Owner
from bridge.ports import LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from bridge.concurrency.event_loop import LoopCaller
    from bridge.ports import Clock, Seen

#: Ids that wait for the ledger; some 150 bytes each. Beyond it the oldest are not recorded any more.
OWED = 10_000
#: Questions and events that wait for the ledger, and those that make up one transaction.
WAITING = 10_000
BATCH = 500
#: So many at once show that there is much to do: then more are gathered for the next transaction, for so many seconds.
MANY = 8
GATHERING = 0.002
#: Stands for an answer that comes later.
LATER: Final = object()

#: Those of the ids that are remembered, or the owner of a message; None where the ledger can not be asked.
Reply: TypeAlias = "Collection[str] | Owner | None"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimits:
    """How much is remembered here, and how long the ledger is waited for. Times are in seconds."""

    #: Ids remembered beside the ledger; some 150 bytes each.
    remembered: int = 10_000
    #: How long a request waits for the ledger.
    timeout: float = 0.5
    #: The same until it was opened for the first time, or could not be: its libraries are to be loaded and its tables
    #: made, and after a restart repeats may be the first to come.
    first_timeout: float = 5.0
    #: Until the ledger is tried again after it failed.
    pause: float = 2.0


# Each is only itself: two may well ask the same. Not frozen, which would make it three times as slow to make.
@dataclass(slots=True, eq=False)
class Question:
    """Which of an event's ids are remembered, or whose a message is."""

    kind: Literal["known", "owner"]
    #: The event's ids, or the message's.
    ids: Sequence[str]
    #: Called with the answer on the event loop of `caller`.
    answered: Callable[[Reply], None]
    caller: LoopCaller


class NotificationMemory(StoreWorker["Seen"]):
    """An event loop calls `ask`, `time_out` and `note`; the rest runs on a separate thread.

    Questions and ids that wait at a stop are answered and recorded if the ledger takes them at once.
    """

    def __init__(
        self,
        open_seen: Callable[[], Seen],
        *,
        clock: Clock,
        on_crash: Callable[[], None],
        limits: MemoryLimits | None = None,
    ) -> None:
        """`open_seen` may raise LedgerUnavailable."""
        super().__init__("memory", open_seen, on_crash=self._crash)
        self._clock = clock
        self._end_process = on_crash
        self._limits = limits or MemoryLimits()
        #: The last ids noted, the oldest first.
        self._recent: OrderedDict[str, None] = OrderedDict()
        #: Whether it is no use to ask the ledger now.
        self._unavailable = False
        #: Seconds after which to lose patience with the ledger.
        self.timeout = self._limits.first_timeout
        self._asked: deque[Question] = deque()
        self._notes: deque[Sequence[str]] = deque(maxlen=WAITING)
        #: Where the thread is going to be woken once this turn of the loop is over.
        self._waking: LoopCaller | None = None
        self._owed: dict[str, None] = {}
        self._is_busy = False

    # --- the event loop ------------------------------------------------------------------------------------------

    def ask(self, question: Question) -> object:
        """Return the answer where it is clear at once, or else LATER: `answered` is called with it then.

        None means that the ledger can not be asked.
        """
        recent = self._recent
        known = [id_ for id_ in question.ids if id_ in recent]
        if known and question.kind == "known":
            for id_ in known:
                recent.move_to_end(id_)
            return known
        if self._unavailable or len(self._asked) >= WAITING:
            return None
        self._asked.append(question)
        self._wake_later(question.caller)
        return LATER

    def time_out(self) -> None:
        """Take note that an answer did not come in time: the next ones need not wait for that again."""
        self._unavailable = True

    def note(self, ids: Sequence[str], also: Sequence[str], caller: LoopCaller) -> None:
        """Remember the ids of a durable event, here at once and in the ledger soon; `also` in the ledger alone."""
        recent = self._recent
        for id_ in ids:
            recent[id_] = None
            if len(recent) > self._limits.remembered:
                recent.popitem(last=False)
        self._notes.append((*ids, *also) if also else ids)
        self._wake_later(caller)

    def _wake_later(self, caller: LoopCaller) -> None:
        """Wake the thread once this turn of the loop is over: once for all of it, since that is a system call."""
        if self._waking is not caller:
            self._waking = caller
            caller.loop.call_soon(self._wake_now)

    def _wake_now(self) -> None:
        self._waking = None
        self.wake()

    # --- the thread ----------------------------------------------------------------------------------------------

    def has_more(self) -> bool:
        """Return whether questions or ids wait that the ledger may take."""
        return not self._unavailable and bool(self._asked or self._notes)

    def run_once(self) -> float:
        """Carry out what has come; a ledger that was never asked, or is away, is asked all the same."""
        if self._unavailable:
            self.pause(self._limits.pause)
        elif self._is_busy:
            self.pause(GATHERING)
        questions = [self._asked.popleft() for _ in range(min(len(self._asked), BATCH))]
        self._is_busy = len(questions) + len(self._notes) >= MANY
        if questions or self._notes or self._unavailable or self._store is None:
            self._carry_out(questions)
        self.timeout = self._limits.timeout
        return 0.0 if self._unavailable or self._asked or self._notes else inf

    def _carry_out(self, questions: Sequence[Question]) -> None:
        """Answer first: requests wait."""
        has_notes = self._owe()
        try:
            seen = self._store or self.store
            if questions or not has_notes:
                self._answer(seen, questions)
            self._record(seen)
        except LedgerUnavailable as e:
            # The database that is reachable later may be another ledger, or an older one.
            self._unavailable = True
            self.close()
            self.warn(
                "notifications.not_deduplicated",
                reason=str(e),
                hint="without the ledger a notification that comes again may be published again, with the same id",
            )
            for question in questions:
                question.caller.call(question.answered, None)
        else:
            self._unavailable = False

    def _crash(self) -> None:
        """End the process; no request waits for the ledger until then."""
        self._unavailable = True
        self._end_process()

    def _answer(self, seen: Seen, questions: Sequence[Question]) -> None:
        known = seen.known(
            {id_ for question in questions if question.kind == "known" for id_ in question.ids}
        )
        for question in questions:
            reply: Reply = (
                known.intersection(question.ids)
                if question.kind == "known"
                else Owner(seen.sent(question.ids[0]))
            )
            question.caller.call(question.answered, reply)

    def _owe(self) -> bool:
        """Take over what is to be recorded; returns whether there was something."""
        has_notes = bool(self._notes)
        while self._notes:
            self._owed.update(dict.fromkeys(self._notes.popleft()))
        for oldest in list(self._owed)[: max(0, len(self._owed) - OWED)]:
            del self._owed[oldest]
        return has_notes

    def _record(self, seen: Seen) -> None:
        while some := list(self._owed)[:BATCH]:
            seen.note(some, self._clock.now())
            for event_id in some:
                del self._owed[event_id]
