"""Asks the ledger which notifications are events already, and tells it of new ones, on behalf of an event loop.

One thread with connections of its own serves all requests: what they ask while a transaction is on its way makes up the
next one, and while there is much to do it waits a moment for more, since a transaction costs as much as twenty rows. It
is not the thread that writes evidence: that waits for those who send, and a webhook does not.

Nothing here may keep a notification from becoming an event. Where the ledger is away nobody waits for it: what it has
not been asked about is published, under the id it would have had anyway, and what it has not been told is kept for when
it is back.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

import structlog

from bridge.adapters.deadlines import Deadlines
from bridge.core.receipts import Sent
from bridge.ports import LedgerUnavailable
from bridge.runtime.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from bridge.ports import Clock, Seen
    from bridge.runtime.metrics import Metrics

#: Ids remembered here, beside the ledger, and ids it is owed; some 150 bytes each.
REMEMBERED = 10_000
#: Lookups and notes that wait for the ledger, and those that make up one transaction.
WAITING = 10_000
BATCH = 500
#: So many in one transaction show that there is much to do: then more are gathered for the next, for so many seconds.
MANY = 8
GATHERING = 0.002
#: Seconds a request waits for the ledger.
PATIENCE = 0.5
#: The same until it was opened for the first time, or could not be: its libraries are to be loaded and its tables made,
#: and after a restart repeats may be the first to come.
FIRST_PATIENCE = 5.0
#: Seconds until the ledger is tried again after it failed.
PAUSE = 2.0
#: Seconds between two log lines that say it is away.
LOG_EVERY = 60.0


#: Those of the ids that are known, or whose the message is; None where the ledger can't tell.
_Answer: TypeAlias = "Collection[str] | Sent | None"


# Each is only itself: two may well ask the same. Not frozen, which would make it three times as slow to make.
@dataclass(slots=True, kw_only=True, eq=False)
class _Asked:
    """A lookup of an event or of whose a message is, or a note of what is durable."""

    kind: Literal["known", "sent", "note"]
    #: The event's ids, or the message's.
    ids: tuple[str, ...]
    told: Callable[[_Answer], None]
    #: The way back to who asked.
    relay: Relay


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
        self._open_seen = open_seen
        self._metrics = metrics
        self._clock = clock
        self._on_crash = on_crash
        self._remembered = remembered
        self._patience = patience
        self._first_patience = first_patience
        self._pause = pause
        #: The last ids noted, the oldest first; the event loop's own.
        self._recent: OrderedDict[str, None] = OrderedDict()
        #: Who waits for an answer, and until when; the event loop's own, as is `_rings`.
        self._waiting: Deadlines[_Asked] = Deadlines(self._lose_patience)
        self._asked: deque[_Asked] = deque()
        #: Wakes the thread, once for all that is asked in one turn of the loop.
        self._bell = threading.Event()
        self._rings = False
        self._away = False
        self._relay: Relay | None = None
        #: Whether it was tried to open the ledger.
        self._tried = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="seen", daemon=True)
        #: The thread's own: the ledger, and what it is to be told.
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
        self._bell.set()
        self._thread.join(timeout)

    def known(self, ids: Collection[str], told: Callable[[Collection[str]], None]) -> None:
        """Call `told` with those of the event ids that were noted; with none where nobody can tell soon."""
        recent = [id_ for id_ in ids if id_ in self._recent]
        for id_ in recent:
            self._recent.move_to_end(id_)
        if recent:
            told(recent)
        elif self._away:
            self._tell_known(told, None)
        else:
            self._ask("known", ids, partial(self._tell_known, told))

    def note(self, ids: Collection[str], told: Callable[[], None]) -> None:
        """Note the ids of an event that is durable, and call `told` once that is, too, unless it takes long."""
        for id_ in ids:
            self._recent[id_] = None
            if len(self._recent) > self._remembered:
                self._recent.popitem(last=False)
        self._ask("note", ids, lambda _: told())

    async def sent(self, message_id: str) -> Sent | None:
        """Return the submission that was sent as this message, if the ledger knows it.

        Raises:
            LedgerUnavailable: nobody can tell soon.

        """
        sent = None if self._away else await self._submission(message_id)
        if sent is None:
            raise LedgerUnavailable("the ledger does not answer soon")
        return sent if isinstance(sent, Sent) else None

    def _submission(self, message_id: str) -> asyncio.Future[_Answer]:
        found: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()

        def told(answer: _Answer) -> None:
            if not found.done():
                found.set_result(answer)

        self._ask("sent", (message_id,), told)
        return found

    def _tell_known(self, told: Callable[[Collection[str]], None], known: _Answer) -> None:
        if known is None or isinstance(known, Sent):
            self._metrics.unchecked.inc()
            known = ()
        told(known)

    def _ask(
        self, kind: Literal["known", "sent", "note"], ids: Collection[str], told: Callable[[_Answer], None]
    ) -> None:
        """Have `told` called with the answer; with None where there is none within our patience, or it is away."""
        relay = Relay.here(self._relay)
        if relay is not self._relay:
            self._relay, self._rings = relay, False
        asked = _Asked(kind=kind, ids=tuple(ids), told=told, relay=relay)
        if len(self._asked) >= WAITING:
            told(None)
            return
        self._asked.append(asked)
        if not self._rings:
            self._rings = True
            relay.loop.call_soon(self._ring)
        if self._away:
            told(None)
        else:
            patience = self._patience if self._tried.is_set() else self._first_patience
            self._waiting.set(asked, relay.loop.time() + patience)

    def _ring(self) -> None:
        self._rings = False
        self._bell.set()

    def _lose_patience(self, asked: _Asked) -> None:
        # The next ones need not find that out again.
        self._away = True
        asked.told(None)

    def _answer(self, answered: tuple[_Asked, _Answer]) -> None:
        """Tell who still waits."""
        asked, answer = answered
        if self._waiting.clear(asked):
            asked.told(answer)

    # --- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._carry_out([])
            self._tried.set()
            while not (self._stopping.is_set() and (self._away or not self._asked)):
                self._carry_out(self._take())
        except Exception:  # noqa: BLE001 - the outermost loop
            # Nobody waits for it until the process ends.
            self._away = True
            self._log.critical("seen.crashed", exc_info=True)
            self._on_crash()
        if self._seen is not None:
            self._seen.close()

    def _take(self) -> list[_Asked]:
        """Wait for something, then take what has come with it; where the ledger is away, wait for that to end."""
        if self._away:
            self._stopping.wait(self._pause)
        else:
            while not self._asked and not self._stopping.is_set():
                self._bell.wait()
                # Before it is looked: what is asked from now on rings again.
                self._bell.clear()
            if self._is_busy:
                self._stopping.wait(GATHERING)
        batch = [self._asked.popleft() for _ in range(min(len(self._asked), BATCH))]
        self._is_busy = len(batch) >= MANY
        return batch

    def _carry_out(self, batch: Sequence[_Asked]) -> None:
        lookups = [asked for asked in batch if asked.kind != "note"]
        notes = [asked for asked in batch if asked.kind == "note"]
        self._owe(notes)
        try:
            if self._seen is None:
                self._seen = self._open_seen()
            if lookups or not notes:
                self._look_up(self._seen, lookups)
            self._pay()
        except LedgerUnavailable as e:
            self._lost(str(e))
            for asked in batch:
                self._reply(asked, None)
        else:
            self._away = False
            for asked in notes:
                self._reply(asked, asked.ids)

    def _look_up(self, seen: Seen, lookups: Sequence[_Asked]) -> None:
        """Answer lookups; also without any the ledger is asked: that shows whether it is back."""
        known = seen.known({id_ for asked in lookups if asked.kind == "known" for id_ in asked.ids})
        for asked in lookups:
            if asked.kind == "known":
                self._reply(asked, known.intersection(asked.ids))
            else:
                self._reply(asked, seen.sent(asked.ids[0]) or ())

    def _reply(self, asked: _Asked, answer: _Answer) -> None:
        asked.relay.tell(self._answer, (asked, answer))

    def _owe(self, notes: Sequence[_Asked]) -> None:
        self._owed.update(dict.fromkeys(id_ for asked in notes for id_ in asked.ids))
        for oldest in list(self._owed)[: max(0, len(self._owed) - REMEMBERED)]:
            del self._owed[oldest]

    def _pay(self) -> None:
        assert self._seen is not None  # noqa: S101
        while some := list(self._owed)[:BATCH]:
            self._seen.note(some, self._clock.now())
            for event_id in some:
                del self._owed[event_id]

    def _lost(self, reason: str) -> None:
        """Have the ledger opened anew: what is there then may be another one, or an older one."""
        self._away = True
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
