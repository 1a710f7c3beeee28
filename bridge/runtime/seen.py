"""Asks the ledger which notifications are events already, and tells it of new ones, on behalf of an event loop.

One thread with connections of its own serves all requests: what they ask while a transaction is on its way makes up the
next one. It is not the thread that writes evidence: that waits for those who send, and a webhook does not.

Nothing here may keep a notification from becoming an event. Where the ledger is away nobody waits for it: what it has
not been asked about is published, under the id it would have had anyway, and what it has not been told is kept for when
it is back.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import structlog

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A lookup of an event or of whose a message is, or a note of what is durable."""

    kind: Literal["known", "sent", "note"]
    #: The event's ids, or the message's.
    ids: tuple[str, ...]
    answered: asyncio.Future[_Answer]
    #: The way back to who asked.
    relay: Relay


class SeenKeeper:
    """What is between the event loop, which calls `known` and `note`, and the ledger."""

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
        self._asked: queue.Queue[_Asked | None] = queue.Queue(WAITING)
        self._away = False
        self._relay: Relay | None = None
        #: Whether it was tried to open the ledger.
        self._tried = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="seen", daemon=True)
        #: The thread's own: the ledger, and what it is to be told.
        self._seen: Seen | None = None
        self._owed: dict[str, None] = {}
        self._logged_at = -LOG_EVERY
        self._log = structlog.get_logger()

    def start(self) -> None:
        """Begin; the ledger may come when it likes."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Tell the ledger what it is owed, if it takes it at once, and end within `timeout` seconds."""
        self._stopping.set()
        with suppress(queue.Full):  # then it wakes up anyway
            self._asked.put_nowait(None)
        self._thread.join(timeout)

    async def known(self, ids: Collection[str]) -> Collection[str]:
        """Return those of the event ids that were noted; none where nobody can tell soon."""
        recent = [id_ for id_ in ids if id_ in self._recent]
        for id_ in recent:
            self._recent.move_to_end(id_)
        if recent:
            return recent
        known = None if self._away else await self._ask("known", tuple(ids))
        if known is None:
            self._metrics.unchecked.inc()
        return () if known is None or isinstance(known, Sent) else known

    async def note(self, ids: Collection[str]) -> None:
        """Note the ids of an event that is durable; wait until that is, too, unless it takes long."""
        for id_ in ids:
            self._recent[id_] = None
            if len(self._recent) > self._remembered:
                self._recent.popitem(last=False)
        await self._ask("note", tuple(ids))

    async def sent(self, message_id: str) -> Sent | None:
        """Return the submission that was sent as this message, if the ledger knows it.

        Raises:
            LedgerUnavailable: nobody can tell soon.

        """
        sent = None if self._away else await self._ask("sent", (message_id,))
        if sent is None:
            raise LedgerUnavailable("the ledger does not answer soon")
        return sent if isinstance(sent, Sent) else None

    async def _ask(self, kind: Literal["known", "sent", "note"], ids: tuple[str, ...]) -> _Answer:
        """Return the answer; None where there is none within our patience, or the ledger is away."""
        self._relay = relay = Relay.here(self._relay)
        asked = _Asked(kind=kind, ids=ids, answered=relay.future(), relay=relay)
        try:
            self._asked.put_nowait(asked)
            if self._away:
                return None
            patience = self._patience if self._tried.is_set() else self._first_patience
            async with asyncio.timeout(patience):
                return await asked.answered
        except queue.Full:
            return None
        except TimeoutError:
            # The next ones need not find that out again.
            self._away = True
            return None

    # --- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._carry_out([])
            self._tried.set()
            while not (self._stopping.is_set() and (self._away or self._asked.empty())):
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
            batch = []
        else:
            batch = [self._asked.get()]
        while len(batch) < BATCH:
            try:
                batch.append(self._asked.get_nowait())
            except queue.Empty:
                break
        return [asked for asked in batch if asked is not None]

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
                asked.relay.settle(asked.answered, None)
        else:
            self._away = False
            for asked in notes:
                asked.relay.settle(asked.answered, asked.ids)

    def _look_up(self, seen: Seen, lookups: Sequence[_Asked]) -> None:
        """Answer lookups; also without any the ledger is asked: that shows whether it is back."""
        known = seen.known({id_ for asked in lookups if asked.kind == "known" for id_ in asked.ids})
        for asked in lookups:
            if asked.kind == "known":
                asked.relay.settle(asked.answered, known.intersection(asked.ids))
            else:
                asked.relay.settle(asked.answered, seen.sent(asked.ids[0]) or ())

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
