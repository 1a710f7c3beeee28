"""The thread that owns the spool: events that the broker does not confirm go in, and out again once it is back.

All that waits at one time goes to the disk in one transaction, so many requests share an fsync. Published events are
watched: one that is unconfirmed for too long, or while the broker is not available, is kept in the spool, and a late
confirm takes it out again.
"""

from __future__ import annotations

import queue
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from bridge.concurrency.background_worker import BackgroundWorker
from bridge.ingest.durable_publisher import PendingEvent
from bridge.ops import failpoints
from bridge.ports import PublisherFull, SpoolUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from bridge.domain.events import Event
    from bridge.ingest.durable_publisher import Publishing
    from bridge.ingest.spool_status import SpoolStatus
    from bridge.ports import Spool

    _Message: TypeAlias = "PendingEvent | _Released | str"

#: Seconds between two looks at what is watched and at what is to be drained.
TICK = 0.05
#: Seconds that the broker may take to confirm an event before the spool has it.
TIMEOUT = 0.8
#: Events from the spool under way at once: what comes in now has most of the publisher's window.
DRAINING = 64
#: Events that may wait for the disk; while it hangs, requests give up and more come.
WAITING = 2_000
#: Seconds between two tries of a spool that can't be opened or written to.
RETRY = 1.0
#: Seconds between two looks at one that is not needed: that it is gone must show before it is.
PROBE = 5.0


class _Released(NamedTuple):
    """An event that was taken for published, and that neither the publisher nor the spool has."""

    id: str


class Spooler(BackgroundWorker):
    """Keeps events, and drains them. Calls from any thread; its own thread alone touches the spool.

    Events that wait at a stop are written; the publisher has stopped before.
    """

    def __init__(
        self,
        open_spool: Callable[[], Spool],
        publishing: Publishing,
        status: SpoolStatus,
        *,
        timeout: float = TIMEOUT,
        on_crash: Callable[[], None],
    ) -> None:
        """`open_spool` may raise SpoolUnavailable, and is tried again then; `timeout` is in seconds."""
        super().__init__("spool", on_crash=on_crash)
        self._open_spool = open_spool
        self._publisher = publishing.publisher
        self._to_message = publishing.to_message
        self._clock = publishing.clock
        self.status = status
        self._timeout = timeout
        #: Events published and not confirmed. Of two threads that take one out, the first has it.
        self.watched: dict[PendingEvent, bool] = {}
        #: Events to keep, ids that the broker has, ids that it was not given.
        self._inbox: queue.SimpleQueue[_Message] = queue.SimpleQueue()

        # All below is the thread's own.
        self._spool: Spool | None = None
        self._retry_at = 0.0
        #: Events that are kept and that the publisher has, too: it will confirm them, and they are not drained.
        self._in_flight: set[str] = set()
        self._draining: set[str] = set()
        #: Events that the publisher has and the spool could not keep yet, by their ids: their result is not known.
        self._open: dict[str, PendingEvent] = {}
        #: Events that the broker has and the spool could not yet forget.
        self._forget: set[str] = set()
        #: The number of the last event that was drained or found in flight.
        self._drained_to = 0

    def keep(self, event: Event, durable: Callable[[bool], None]) -> None:
        """Keep an event, and call `durable` with whether it is on the disk: on the spool's thread, or at once."""
        if self._inbox.qsize() >= WAITING:
            durable(False)  # noqa: FBT003 - that is all there is to say
        else:
            self._post(PendingEvent(event, durable))

    def unwatch(self, unconfirmed: PendingEvent) -> None:
        """Watch an event no longer: it was not published after all."""
        if not self.watched.pop(unconfirmed, False):
            self._post(_Released(unconfirmed.event.id))

    def _post(self, message: _Message) -> None:
        self._inbox.put(message)
        self.wake()

    # --- the publisher's thread -----------------------------------------------------------------------------------

    def confirmed(self, unconfirmed: PendingEvent) -> None:
        """Forget an event that is kept, or about to be: the broker has it."""
        self._post(unconfirmed.event.id)

    def _drained(self, id_: str) -> None:
        failpoints.reach("spool-confirmed")
        self._post(id_)

    # --- the spool's thread ---------------------------------------------------------------------------------------

    def has_more(self) -> bool:
        """Return whether events wait, in the inbox or for a confirm."""
        return not self._inbox.empty() or bool(self.watched)

    def run_once(self) -> float:
        """Take all there is, and look after what is watched and what is to be drained."""
        taken: list[_Message] = []
        with suppress(queue.Empty):
            while True:
                taken.append(self._inbox.get_nowait())
        if taken or not self._is_idle():
            self._take(taken)
        return TICK

    def _is_idle(self) -> bool:
        """Whether nothing is watched or kept, nothing is wrong, and it is not yet time for a probe."""
        status = self.status
        is_needed = self.watched or self._open or self._forget or status.contents.events or status.problem
        return not is_needed and not self._is_time()

    def close(self) -> None:
        """Let go of the spool."""
        if self._spool is not None:
            self._spool.close()

    def _take(self, taken: Sequence[_Message]) -> None:
        keep = [one for one in taken if isinstance(one, PendingEvent)]
        confirmed = {one for one in taken if isinstance(one, str)}
        self._draining -= confirmed
        # An event that was published before it was kept is confirmed after that: its id is in a later iteration.
        self._forget |= confirmed & self._in_flight
        released = {one.id for one in taken if isinstance(one, _Released)}
        if released & self._in_flight:
            self._in_flight -= released
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

    def _overdue(self) -> list[PendingEvent]:
        """Take over what the broker should have confirmed by now, also what could not be kept before."""
        again: list[PendingEvent] = []
        if self.status.failing is None or self._is_time():
            again.extend(self._open.values())
            self._open.clear()
        if not self.watched:
            return again
        waits = self._publisher.available and not self._stopping.is_set()
        before = self._clock.monotonic() - self._timeout if waits else float("inf")
        late = [one for one in self.watched.copy() if (one.since or 0.0) <= before]
        return again + [one for one in late if self.watched.pop(one, False)]

    def _refuse(self, waiting: PendingEvent) -> None:
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
                self.status.failing = str(e)
            else:
                self.status.failing = None
        return self._spool

    def _write(self, spool: Spool, keep: list[PendingEvent]) -> None:
        fitting = self._fitting(spool, keep)
        if fitting:
            kept = self._change(spool, [waiting.event for waiting in fitting])
            if kept:
                self.status.kept(len(fitting))
                # The publisher reports the confirms of the events that it has.
                self._in_flight |= {waiting.event.id for waiting in fitting if waiting.since is not None}
                failpoints.reach("notification-spooled")
            for waiting in fitting:
                if kept:
                    waiting.durable(True)  # noqa: FBT003 - that is all there is to say
                else:
                    self._refuse(waiting)
        elif self._forget and (self.status.failing is None or self._is_time()):
            self._change(spool, [])
        elif self._is_time():
            self._try(spool.probe)

    def _fitting(self, spool: Spool, keep: list[PendingEvent]) -> list[PendingEvent]:
        """Return what the bounds allow to be kept, and refuse the others."""
        if not keep:
            return []
        has_capacity = self.status.capacity_for([waiting.event for waiting in keep], spool.contents)
        for waiting, fits in zip(keep, has_capacity, strict=True):
            if not fits:
                self._refuse(waiting)
        return [waiting for waiting, fits in zip(keep, has_capacity, strict=True) if fits]

    def _change(self, spool: Spool, events: Sequence[Event]) -> bool:
        """Keep events and forget what the broker has; where that fails, at least forget."""
        before = spool.contents
        now = self._clock.now()
        done = forgotten = self._try(partial(spool.change, events, self._forget, now=now))
        if not done and events and self._forget:
            forgotten = self._try(partial(spool.change, [], self._forget, now=now))
        if forgotten:
            self._in_flight -= self._forget
            self.status.changed(before, spool.contents, drained=len(self._forget))
            self._forget = set()
        return done

    def _try(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except SpoolUnavailable as e:
            self._fail(e)
            return False
        self.status.failing = None
        self._retry_at = self._clock.monotonic() + PROBE
        return True

    def _fail(self, error: SpoolUnavailable) -> None:
        self.status.failing = str(error)
        self._retry_at = self._clock.monotonic() + RETRY

    def _is_time(self) -> bool:
        return self._clock.monotonic() >= self._retry_at

    def _drain(self, spool: Spool) -> None:
        """Publish the oldest that are not in flight, while the broker takes messages."""
        capacity = DRAINING - len(self._draining)
        # Half of them at a time: a query for each would be a waste.
        if capacity < DRAINING // 2 or not self._publisher.available or self._stopping.is_set():
            return
        if spool.contents.events <= len(self._in_flight):
            return
        try:
            found = spool.oldest(capacity, after=self._drained_to)
        except SpoolUnavailable as e:
            self._fail(e)
            return
        # A spool that can be read may still refuse writes: only a change or a probe shows that.
        for spooled in found:
            id_ = spooled.event.id
            if id_ not in self._in_flight:
                try:
                    self._publisher.publish(self._to_message(spooled.event), partial(self._drained, id_))
                except PublisherFull:
                    return
                self._in_flight.add(id_)
                self._draining.add(id_)
            self._drained_to = spooled.number

    def _report(self) -> None:
        if self._spool is None:
            self.status.report(None)
            return
        if self._spool.contents.damaged != self.status.contents.damaged or (
            self._spool.contents.moved != self.status.contents.moved
        ):
            # A new file may number its events anew.
            self._drained_to = 0
        self.status.report(self._spool.contents)
