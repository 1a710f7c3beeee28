"""Tells an event loop which notifications are events already, and whose a message is.

Nothing here may keep a notification from becoming an event. Where the ledger is away nobody waits for it: what it has
not been asked about is published, under the id it would have had anyway, and what it has not been told is kept for when
it is back.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Literal

from bridge.concurrency.deadlines import Deadlines
from bridge.concurrency.relay import Relay
from bridge.domain.receipts import SentSubmission
from bridge.ingest.seen_writer import PAUSE, Noting, Question
from bridge.ports import LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from bridge.ingest.seen_writer import Answer
    from bridge.ops.metrics import Metrics
    from bridge.ports import Clock, Seen

#: Ids remembered here, beside the ledger; some 150 bytes each.
REMEMBERED = 10_000
#: Seconds a request waits for the ledger.
PATIENCE = 0.5
#: The same until it was opened for the first time, or could not be: its libraries are to be loaded and its tables made,
#: and after a restart repeats may be the first to come.
FIRST_PATIENCE = 5.0


class SeenKeeper:
    """What is between the event loop, which calls `known`, `note` and `sent`, and the ledger."""

    def __init__(
        self,
        open_seen: Callable[[], Seen],
        *,
        metrics: Metrics,
        clock: Clock,
        on_crash: Callable[[], None],
        remembered: int = REMEMBERED,
        patience: float = PATIENCE,
        first_patience: float = FIRST_PATIENCE,
        pause: float = PAUSE,
    ) -> None:
        """`open_seen` may raise LedgerUnavailable; `patience`, `first_patience` and `pause` are in seconds."""
        self._metrics = metrics
        self._remembered = remembered
        self._patience = patience
        self._first_patience = first_patience
        self._noting = Noting(open_seen, self._answer, clock=clock, on_crash=on_crash, pause=pause)
        #: The last ids noted, the oldest first.
        self._recent: OrderedDict[str, None] = OrderedDict()
        #: Who waits for an answer, and until when.
        self._waiting: Deadlines[Question] = Deadlines(self._lose_patience)
        #: Whether the thread is going to be woken in this turn of the loop.
        self._wakes = False
        self._relay: Relay | None = None

    def start(self) -> None:
        """Begin; the ledger may come when it likes."""
        self._noting.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Tell the ledger what it is owed, if it takes it at once, and end within `timeout` seconds."""
        self._noting.stop(timeout)

    def known(self, ids: Collection[str], told: Callable[[Collection[str]], None]) -> None:
        """Call `told` with those of the event ids that were noted; with none where nobody can tell soon."""
        recent = [id_ for id_ in ids if id_ in self._recent]
        for id_ in recent:
            self._recent.move_to_end(id_)
        if recent:
            told(recent)
        elif self._noting.away:
            self._tell_known(told, None)
        else:
            self._ask("known", ids, partial(self._tell_known, told))

    def note(self, ids: Sequence[str], also: Sequence[str] = ()) -> None:
        """Note the ids of an event that is durable: here at once, in the ledger soon; `also` in the ledger alone."""
        for id_ in ids:
            self._recent[id_] = None
            if len(self._recent) > self._remembered:
                self._recent.popitem(last=False)
        self._noting.note((*ids, *also) if also else ids)
        self._wake(self._here())

    async def sent(self, message_id: str) -> SentSubmission | None:
        """Return the submission that was sent as this message, if the ledger knows it.

        Raises:
            LedgerUnavailable: nobody can tell soon.

        """
        sent = None if self._noting.away else await self._submission(message_id)
        if sent is None:
            raise LedgerUnavailable("the ledger does not answer soon")
        return sent if isinstance(sent, SentSubmission) else None

    def _submission(self, message_id: str) -> asyncio.Future[Answer]:
        found: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def told(answer: Answer) -> None:
            if not found.done():
                found.set_result(answer)

        self._ask("sent", (message_id,), told)
        return found

    def _tell_known(self, told: Callable[[Collection[str]], None], known: Answer) -> None:
        if known is None or isinstance(known, SentSubmission):
            self._metrics.unchecked.inc()
            known = ()
        told(known)

    def _ask(
        self, kind: Literal["known", "sent"], ids: Collection[str], told: Callable[[Answer], None]
    ) -> None:
        """Have `told` called with the answer; with None where there is none within our patience."""
        relay = self._here()
        question = Question(kind=kind, ids=tuple(ids), told=told, relay=relay)
        if not self._noting.ask(question):
            told(None)
            return
        self._wake(relay)
        patience = self._patience if self._noting.tried.is_set() else self._first_patience
        self._waiting.set(question, relay.loop.time() + patience)

    def _here(self) -> Relay:
        """Return the way back to the running event loop."""
        relay = Relay.here(self._relay)
        if relay is not self._relay:
            self._relay, self._wakes = relay, False
        return relay

    def _wake(self, relay: Relay) -> None:
        """Wake the thread once this turn of the loop is over."""
        if not self._wakes:
            self._wakes = True
            relay.loop.call_soon(self._wake_now)

    def _wake_now(self) -> None:
        self._wakes = False
        self._noting.wake()

    def _lose_patience(self, question: Question) -> None:
        # The next ones need not find that out again.
        self._noting.away = True
        question.told(None)

    def _answer(self, answered: tuple[Question, Answer]) -> None:
        """Tell who still waits."""
        question, answer = answered
        if self._waiting.clear(question):
            question.told(answer)
