"""Reads the provider's history for what no webhook brought, and has it published."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from bridge.flows.catch_up import advanced, begins, events_for, may_have_news, missing
from bridge.ports import ArchiveUnavailable, LedgerUnavailable, Seen, Watermarks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.core.events import Event
    from bridge.core.outcomes import Style
    from bridge.flows.catch_up import CatchUpRules
    from bridge.ports import Archive, Clock, KeptThread

_log = structlog.get_logger()

#: Seconds until a round that failed is tried again, however long the interval is.
RETRY = 5.0


class Memory(Seen, Watermarks, Protocol):
    """What is known of notifications, and how far the history was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caught:
    """What a round came to."""

    #: Threads that were read, and those of them that may hold more than could be read.
    threads: int
    incomplete: int
    #: Threads that could not be read at all: the next round does.
    unread: int
    #: Inbound messages that no webhook brought: published, or with a dry run to be.
    recovered: int
    #: Those that could not be made durable: the next round finds them.
    refused: int
    #: Those without a readable time: passed over.
    undated: int

    @property
    def whole(self) -> bool:
        """Whether nothing is left to the next round."""
        return not (self.incomplete or self.unread or self.refused)


class CatchUp:
    """One round after another; used by one thread."""

    def __init__(
        self,
        archive: Archive,
        open_memory: Callable[[], Memory],
        publish: Callable[[Event], bool],
        *,
        style: Style,
        rules: CatchUpRules,
        clock: Clock,
    ) -> None:
        """`publish` makes an event durable and returns whether it could; it is noted here after that."""
        self._archive = archive
        self._open_memory = open_memory
        self._publish = publish
        self._style = style
        self._rules = rules
        self._clock = clock

    def run(self, *, since: float | None = None, dry_run: bool = False) -> Caught:
        """Read what is new and publish what is missing, or with `dry_run` only count it.

        With `since` (seconds since the epoch) it reads from then on, and the watermarks stay as they are.

        Raises:
            LedgerUnavailable: nobody can tell what is missing, or what was read could not be noted.
            ArchiveUnavailable: the list of threads can't be had.

        """
        now = self._clock.now()
        with closing(self._open_memory()) as memory:
            marks = memory.watermarks()
            threads, listed = self._archive.threads()
            whole: dict[str, bool] = {}
            read = unread = incomplete = recovered = refused = undated = 0
            for thread in threads:
                number = thread.local_address
                whole.setdefault(number, True)
                begin = begins(number, marks, now=now, rules=self._rules) if since is None else since
                # What is older may have been forgotten, and would be taken for new.
                begin = max(begin, now - self._rules.retention)
                if not may_have_news(thread, begin):
                    continue
                try:
                    events, all_of_it, timeless = self._missing(memory, thread, begin, now)
                except ArchiveUnavailable as e:
                    _log.warning("thread.unread", reason=str(e))
                    unread, whole[number] = unread + 1, False
                    continue
                read += 1
                # After one that was refused the others would only wait as long as that did.
                told = len(events) if dry_run else 0 if refused else self._tell(memory, events, now)
                recovered += told
                refused += len(events) - told
                incomplete += not all_of_it
                undated += timeless
                whole[number] = whole[number] and all_of_it and told == len(events)
            if since is None and not dry_run:
                memory.advance(advanced(marks, whole, listed=listed, now=now, rules=self._rules))
        return Caught(
            threads=read,
            incomplete=incomplete + (not listed),
            unread=unread,
            recovered=recovered,
            refused=refused,
            undated=undated,
        )

    def _tell(self, memory: Memory, events: Sequence[Event], now: float) -> int:
        """Publish events, and note each once it is durable, up to the first that can't be; return how many."""
        for number, event in enumerate(events):
            if not self._publish(event):
                return number
            memory.note([event.id], now)
        return len(events)

    def _missing(
        self, memory: Memory, thread: KeptThread, since: float, now: float
    ) -> tuple[list[Event], bool, int]:
        """Return the events that a thread lacks, whether it was read whole, and how many messages have no time."""
        messages, whole = self._archive.messages(thread, since)
        found, undated = missing(messages, since, now=now)
        known = memory.known(found.keys())
        style = self._style
        events = events_for(found, known, source=style.source, time=now, camel_case=style.camel_case)
        return list(events), whole, undated


class CatchingUp:
    """Runs rounds on a thread of its own: at start, and periodically. What fails is logged and tried again."""

    def __init__(self, catch_up: CatchUp, *, at_start: bool, interval: float, retry: float = RETRY) -> None:
        """`interval` is in seconds; 0 leaves it at the one at start."""
        self._catch_up = catch_up
        self._at_start = at_start
        self._interval = interval
        self._retry = retry
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="catching-up", daemon=True)

    def start(self) -> None:
        """Begin; ledger, broker and provider may come when they like."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """End within `timeout` seconds; what a round under way has not published, a later one finds."""
        self._stopping.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        wait = 0.0 if self._at_start else self._interval
        while not self._stopping.wait(wait):
            if not self._round():
                wait = min(self._retry, self._interval or self._retry)
            elif self._interval:
                wait = self._interval
            else:
                return

    def _round(self) -> bool:
        """Return whether nothing is left to do."""
        try:
            caught = self._catch_up.run()
        except (LedgerUnavailable, ArchiveUnavailable) as e:
            _log.warning("catch_up.failed", reason=str(e))
            return False
        log = _log.info if caught.whole else _log.warning
        log(
            "catch_up.ended",
            threads=caught.threads,
            incomplete=caught.incomplete,
            unread=caught.unread,
            recovered=caught.recovered,
            refused=caught.refused,
            undated=caught.undated,
        )
        # A thread that can't be read whole may never be: that is for the next interval.
        return not (caught.refused or caught.unread)
