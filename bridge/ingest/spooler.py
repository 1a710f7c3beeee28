"""The thread that owns the spool: what the broker does not confirm goes in, and out again once the broker is back.

Whatever waits at one time goes to the disk in one transaction, so many requests share an fsync. What is published is
watched meanwhile: unconfirmed for too long, or while the broker is not available, it is kept in the spool, and a late
confirm takes it out again.
"""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import structlog

from bridge.ops import failpoints
from bridge.ports import SPOOL_OVERHEAD, PublisherFull, SpoolContents, SpoolUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from bridge.domain.events import Event
    from bridge.domain.messages import Outgoing
    from bridge.ops.metrics import Metrics
    from bridge.ports import Clock, Publisher, Spool

    _Message: TypeAlias = "_Waiting | _Released | str"

#: Seconds between two looks at what is watched and at what is to be drained.
TICK = 0.05
#: Seconds that the broker may take to confirm an event before the spool has it.
PATIENCE = 0.8
#: Events from the spool under way at once: what comes in now has most of the publisher's window.
DRAINING = 64
#: Events that may wait for the disk; while it hangs, requests give up and more come.
WAITING = 2_000
#: Seconds between two tries of a spool that can't be opened or written to.
RETRY = 1.0
#: Seconds between two looks at one that nobody needs: that it is gone must show before it is needed.
PROBE = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much a spool takes."""

    #: Bytes, as `SpoolContents` counts them.
    max_bytes: int
    #: Seconds; while the oldest event is older, nothing more is taken. Nothing is ever dropped.
    max_age: float


class Trouble(NamedTuple):
    """Why the spool takes nothing now."""

    #: A word for the log: `opening`, `closed`, `failing`, `full` or `old`.
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An event that somebody waits for to be durable."""

    event: Event
    durable: Callable[[bool], None] = field(repr=False)
    #: When it was given to the publisher, in `Clock.monotonic` seconds; None: it was not.
    since: float | None = None


class _Released(NamedTuple):
    """An event that was taken for published and is in nobody's hand."""

    id: str


class Spooler:
    """Keeps, watches, drains. Calls from any thread; all that touches the spool is on its own."""

    def __init__(
        self,
        open_spool: Callable[[], Spool],
        publisher: Publisher,
        *,
        tell: Callable[[Event], Outgoing],
        bounds: Bounds,
        patience: float = PATIENCE,
        clock: Clock,
        metrics: Metrics,
        on_crash: Callable[[], None],
    ) -> None:
        """`open_spool` may raise SpoolUnavailable, and is tried again then; `patience` is in seconds."""
        self._open_spool = open_spool
        self._publisher = publisher
        self._tell = tell
        self._bounds = bounds
        self._patience = patience
        self._clock = clock
        self._metrics = metrics
        self._on_crash = on_crash
        self._log = structlog.get_logger()
        self._keys = count()
        self._watched: dict[int, _Waiting] = {}
        #: Events to keep, ids that the broker has, ids that it was not given; None wakes the thread.
        self._inbox: queue.SimpleQueue[_Message | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)

        # All below is the thread's own; `contents` and `trouble` may be read from anywhere.
        self._spool: Spool | None = None
        self._retry_at = 0.0
        self.contents = SpoolContents(0, 0, None)
        self.trouble: Trouble | None = Trouble("opening", "it is being opened")
        #: What the publisher has in hand of what is kept: it will be told, and is not drained.
        self._in_hand: set[str] = set()
        self._draining: set[str] = set()
        #: What the publisher has in hand and the spool could not keep yet, by event id: nobody knows its fate.
        self._open: dict[str, _Waiting] = {}
        #: What the broker has and the spool could not yet forget.
        self._forget: set[str] = set()
        #: The number of the last event that was drained or found in hand.
        self._drained_to = 0
        self._failing: str | None = None
        #: The size at which an event found no room.
        self._full_at: int | None = None

    def start(self) -> None:
        """Begin; the disk may come when it likes."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Write what waits and let go of the spool, within `timeout` seconds; the publisher has stopped before."""
        self._stopping.set()
        self._inbox.put(None)
        self._thread.join(timeout)

    def keep(self, event: Event, durable: Callable[[bool], None]) -> None:
        """Keep an event, and call `durable` with whether it is on the disk: on the spool's thread, or at once."""
        if self._inbox.qsize() >= WAITING:
            durable(False)  # noqa: FBT003 - that is all there is to say
        else:
            self._inbox.put(_Waiting(event, durable))

    def watch(self, event: Event, durable: Callable[[bool], None]) -> tuple[int, Callable[[], None]]:
        """Watch an event that is about to be published; returns its key and what the publisher is to call.

        `durable` is called on the publisher's thread, or on the spool's where the broker does not confirm and the spool
        has it; otherwise not before the confirm.
        """
        key = next(self._keys)
        self._watched[key] = _Waiting(event, durable, self._clock.monotonic())
        return key, partial(self._confirmed, key, event.id, durable)

    def unwatch(self, key: int, event: Event) -> None:
        """Watch an event no longer: it was not published after all."""
        if self._watched.pop(key, None) is None:
            self._inbox.put(_Released(event.id))

    # --- the publisher's thread -----------------------------------------------------------------------------------

    def _confirmed(self, key: int, id_: str, durable: Callable[[bool], None]) -> None:
        durable(True)  # noqa: FBT003 - that is all there is to say
        # Where the spool's thread was first, the event is kept or about to be.
        if self._watched.pop(key, None) is None:
            self._inbox.put(id_)

    def _drained(self, id_: str) -> None:
        failpoints.reach("spool-confirmed")
        self._inbox.put(id_)

    # --- the spool's thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping.is_set() or not self._inbox.empty():
                self._round(self._taken())
        except Exception:  # noqa: BLE001 - the outermost loop
            self._log.critical("spool.crashed", exc_info=True)
            self._on_crash()
        if self._spool is not None:
            self._spool.close()

    def _taken(self) -> list[_Message]:
        """Wait for something to do, a tick at most, and take all there is."""
        taken = []
        with suppress(queue.Empty):
            taken.append(self._inbox.get(timeout=TICK))
            while True:
                taken.append(self._inbox.get_nowait())
        return [one for one in taken if one is not None]

    def _round(self, taken: Sequence[_Message]) -> None:
        keep = [one for one in taken if isinstance(one, _Waiting)]
        confirmed = {one for one in taken if isinstance(one, str)}
        self._draining -= confirmed
        # What was published before it was kept is confirmed after that: its id is in a later round.
        self._forget |= confirmed & self._in_hand
        released = {one.id for one in taken if isinstance(one, _Released)}
        if released & self._in_hand:
            self._in_hand -= released
            self._drained_to = 0
        for id_ in confirmed | released:
            self._open.pop(id_, None)
        keep += self._overdue()
        spool = self._opened()
        if spool is None:
            for waiting in keep:
                self._refuse(waiting)
        else:
            self._write(spool, keep)
            self._drain(spool)
        self._report()

    def _overdue(self) -> list[_Waiting]:
        """Take over what the broker should have confirmed by now, also what could not be kept before."""
        again: list[_Waiting] = []
        if self._failing is None or self._is_time():
            again.extend(self._open.values())
            self._open.clear()
        if not self._watched:
            return again
        before = self._clock.monotonic() - self._patience if self._publisher.available else float("inf")
        late = [key for key, waiting in self._watched.copy().items() if (waiting.since or 0.0) <= before]
        taken = [self._watched.pop(key, None) for key in late]
        return again + [waiting for waiting in taken if waiting is not None]

    def _refuse(self, waiting: _Waiting) -> None:
        """Say that an event is not kept; nothing yet where the publisher has it: its confirm may come any time."""
        if waiting.since is None:
            waiting.durable(False)  # noqa: FBT003 - that is all there is to say
        else:
            self._open[waiting.event.id] = waiting

    def _opened(self) -> Spool | None:
        now = self._clock.monotonic()
        if self._spool is None and now >= self._retry_at:
            self._retry_at = now + RETRY
            try:
                self._spool = self._open_spool()
            except SpoolUnavailable as e:
                self._failing = str(e)
            else:
                self._failing = None
        return self._spool

    def _write(self, spool: Spool, keep: list[_Waiting]) -> None:
        room = self._with_room(spool, keep)
        if room:
            kept = self._change(spool, [waiting.event for waiting in room])
            if kept:
                self._metrics.spooled.inc(len(room))
                # The publisher tells us of those that it has.
                self._in_hand |= {waiting.event.id for waiting in room if waiting.since is not None}
                failpoints.reach("notification-spooled")
            for waiting in room:
                if kept:
                    waiting.durable(True)  # noqa: FBT003 - that is all there is to say
                else:
                    self._refuse(waiting)
        elif self._forget and (self._failing is None or self._is_time()):
            self._change(spool, [])
        elif self._is_time():
            self._try(spool.probe)

    def _with_room(self, spool: Spool, keep: list[_Waiting]) -> list[_Waiting]:
        """Return what the bounds allow to be kept, and tell the others."""
        if not keep:
            return []
        allowed: list[_Waiting] = []
        self._full_at = None
        bytes_ = spool.contents.bytes
        too_old = self._age(spool.contents) > self._bounds.max_age
        for waiting in keep:
            size = len(waiting.event.body) + SPOOL_OVERHEAD
            if too_old:
                self._refuse(waiting)
            elif bytes_ + size > self._bounds.max_bytes:
                self._full_at = bytes_
                self._refuse(waiting)
            else:
                bytes_ += size
                allowed.append(waiting)
        return allowed

    def _change(self, spool: Spool, events: Sequence[Event]) -> bool:
        """Keep events and forget what the broker has; where that fails, at least forget."""
        before = spool.contents
        now = self._clock.now()
        done = forgotten = self._try(partial(spool.change, events, self._forget, now=now))
        if not done and events and self._forget:
            forgotten = self._try(partial(spool.change, [], self._forget, now=now))
        if forgotten:
            self._metrics.drained.inc(len(self._forget))
            self._in_hand -= self._forget
            self._forget = set()
            self._log_course(before, spool.contents)
        return done

    def _try(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except SpoolUnavailable as e:
            self._fail(e)
            return False
        self._failing = None
        self._retry_at = self._clock.monotonic() + PROBE
        return True

    def _fail(self, error: SpoolUnavailable) -> None:
        self._failing = str(error)
        self._retry_at = self._clock.monotonic() + RETRY

    def _is_time(self) -> bool:
        return self._clock.monotonic() >= self._retry_at

    def _drain(self, spool: Spool) -> None:
        """Publish the oldest that nobody has in hand, while the broker takes messages."""
        room = DRAINING - len(self._draining)
        # Half of them at a time: a query for each would be a waste.
        if room < DRAINING // 2 or not self._publisher.available or self._stopping.is_set():
            return
        if spool.contents.events <= len(self._in_hand):
            return
        try:
            found = spool.oldest(room, after=self._drained_to)
        except SpoolUnavailable as e:
            self._fail(e)
            return
        # What can be read may still take nothing: that is for a change or a probe to say.
        for spooled in found:
            id_ = spooled.event.id
            if id_ not in self._in_hand:
                try:
                    self._publisher.publish(self._tell(spooled.event), partial(self._drained, id_))
                except PublisherFull:
                    return
                self._in_hand.add(id_)
                self._draining.add(id_)
            self._drained_to = spooled.number

    # --- what others see ------------------------------------------------------------------------------------------

    def _report(self) -> None:
        spool = self._spool
        if spool is not None:
            damaged = spool.contents.damaged - self.contents.damaged
            if damaged:
                self._metrics.damaged.inc(damaged)
            if damaged or spool.contents.moved != self.contents.moved:
                # A new file may number its events anew.
                self._drained_to = 0
            self.contents = spool.contents
        contents = self.contents
        self._metrics.spool_events.set(contents.events)
        self._metrics.spool_bytes.set(contents.bytes)
        self._metrics.spool_age.set(self._age(contents))
        self._note(self._judged(contents))

    def _judged(self, contents: SpoolContents) -> Trouble | None:
        if self._full_at is not None and (contents.bytes < self._full_at or not contents.events):
            self._full_at = None
        if self._failing is not None:
            return Trouble("closed" if self._spool is None else "failing", self._failing)
        if self._age(contents) > self._bounds.max_age:
            return Trouble("old", f"its oldest event is older than {self._bounds.max_age:g} s")
        if self._full_at is not None:
            return Trouble("full", f"{contents.bytes} of {self._bounds.max_bytes} bytes are taken")
        return None

    def _note(self, trouble: Trouble | None) -> None:
        before, self.trouble = self.trouble, trouble
        self._metrics.spool_accepting.set(trouble is None)
        if trouble is None:
            if before is not None:
                self._log.info("spool.accepting", events=self.contents.events)
        elif before is None or before.kind != trouble.kind:
            self._log.error(
                "spool.refusing", kind=trouble.kind, reason=trouble.detail, hint="without the broker: 503"
            )

    def _log_course(self, before: SpoolContents, after: SpoolContents) -> None:
        if after.events and not before.events:
            self._log.warning("spool.filling", hint="the broker does not confirm; what comes in is kept")
        elif before.events and not after.events:
            self._log.info("spool.drained")

    def _age(self, contents: SpoolContents) -> float:
        return 0.0 if contents.oldest_at is None else max(0.0, self._clock.now() - contents.oldest_at)
