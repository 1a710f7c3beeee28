"""Backfill: publishes messages of the provider's history that no webhook delivered."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from math import inf
from typing import TYPE_CHECKING, Protocol

import structlog

from bridge.concurrency.background_worker import BackgroundWorker
from bridge.domain.backfill import GRACE, advanced, begins, events_for, inbound, may_have_news, missing
from bridge.ingest.actions import FindRepeat, MakeDurable, Remember, Respond
from bridge.ingest.notification import NotificationFlow
from bridge.ports import ArchiveUnavailable, LedgerUnavailable, Seen, Watermarks, unwatched
from bridge.ports.http_results import NotificationResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.domain.backfill import CatchUpRules
    from bridge.domain.events import Event
    from bridge.domain.history import KeptThread
    from bridge.domain.outcomes import EventFormat
    from bridge.ports import Archive, Clock, Progress

_log = structlog.get_logger()

#: Seconds until a failed round is repeated, regardless of the interval.
RETRY = 5.0


class Memory(Seen, Watermarks, Protocol):
    """Deduplication of notifications, and the high-water marks of the history."""


@dataclass(slots=True, kw_only=True)
class Caught:
    """Result of a round."""

    #: Threads that were read, and those of them that were not read completely.
    threads: int = 0
    incomplete: int = 0
    #: Threads that could not be read at all; the next round reads them.
    unreadable: int = 0
    #: Inbound messages that no webhook delivered: published, or in a dry run counted.
    recovered: int = 0
    #: Messages that could not be made durable; the next round finds them.
    refused: int = 0
    #: Messages without an event that are so young that their webhooks may still arrive; the next round decides.
    young: int = 0
    #: Messages without a valid time, which are skipped.
    undated: int = 0

    @property
    def whole(self) -> bool:
        """Whether nothing is left for the next round except young messages."""
        return not (self.incomplete or self.unreadable or self.refused)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """The period of a thread that is read, and the time of the read. In seconds since the epoch."""

    begin: float
    until: float
    now: float


class CatchUp:
    """Runs rounds of the backfill. Used by one thread."""

    def __init__(
        self,
        archive: Archive,
        open_memory: Callable[[], Memory],
        publish: Callable[[Event], NotificationResult],
        *,
        style: EventFormat,
        rules: CatchUpRules,
        clock: Clock,
    ) -> None:
        """`publish` makes a new event durable if it can; the event is then remembered here."""
        self._archive = archive
        self._open_memory = open_memory
        self._publish = publish
        self._style = style
        self._rules = rules
        self._clock = clock

    def run(
        self, *, since: float | None = None, dry_run: bool = False, progress: Progress = unwatched
    ) -> Caught:
        """Read new messages and publish missing ones, or with `dry_run` count them; `progress` counts threads.

        With `since` (seconds since the epoch) it reads from then until now and does not change the watermarks.

        Raises:
            LedgerUnavailable: missing messages can't be determined, or the result could not be recorded.
            ArchiveUnavailable: the list of threads can't be read.

        """
        rules, now, caught = self._rules, self._clock.now(), Caught()
        until = now - rules.grace if since is None else inf
        with closing(self._open_memory()) as memory:
            watermarks = memory.watermarks()
            threads, listed = self._archive.threads()
            caught.incomplete += not listed
            whole: dict[str, bool] = {}
            for position, thread in enumerate(threads):
                progress(position, len(threads))
                number = thread.local_address
                begin = begins(number, watermarks, now=now, rules=rules) if since is None else since
                # Older messages may have been pruned from the ledger, and would be taken for new ones.
                span = _Span(begin=max(begin, now - rules.retention), until=until, now=now)
                done = not may_have_news(thread, span.begin) or self._read(
                    memory, thread, span, caught, dry_run=dry_run
                )
                whole[number] = whole.get(number, True) and done
            if since is None and not dry_run:
                memory.advance(advanced(watermarks, whole, listed=listed, now=now, rules=rules))
        return caught

    def _read(
        self, memory: Memory, thread: KeptThread, span: _Span, caught: Caught, *, dry_run: bool
    ) -> bool:
        """Publish or count a thread's missing messages; return whether the thread needs no further round."""
        try:
            messages, whole = self._archive.messages(thread, span.begin)
        except ArchiveUnavailable as e:
            _log.warning("thread.read_failed", reason=str(e))
            caught.unreadable += 1
            return False
        found = inbound(messages, span.begin, span.until, now=span.now)
        lacking = missing(found, memory.known([*found.likeness, *found.likeness.values()]))
        caught.threads += 1
        caught.incomplete += not whole
        caught.undated += found.undated
        caught.young += len(found.young & lacking)
        style = self._style
        events = events_for(
            found.old, lacking, source=style.source, time=span.now, camel_case=style.camel_case
        )
        if dry_run:
            caught.recovered += len(events)
            return whole
        return self._publish_all(memory, events, caught) and whole

    def _publish_all(self, memory: Memory, events: Sequence[Event], caught: Caught) -> bool:
        """Publish events up to the first that can't be made durable; return whether all are durable."""
        for number, event in enumerate(events):
            # After a refused event, each of the others would wait as long and be refused too.
            result = NotificationResult.REFUSED if caught.refused else self._carry_out(memory, event)
            if result is NotificationResult.REFUSED:
                caught.refused += len(events) - number
                return False
            caught.recovered += result is NotificationResult.PUBLISHED
        return True

    def _carry_out(self, memory: Memory, event: Event) -> NotificationResult:
        """Carry out the order of a notification, beginning with its event.

        A webhook may have delivered the same event while earlier ones were published.
        """
        steps = NotificationFlow(event).publish()
        result = NotificationResult.REFUSED
        reply: object = None
        with suppress(StopIteration):
            while True:
                action, reply = steps.send(reply), None
                match action:
                    case FindRepeat():
                        reply = memory.known(action.ids)
                    case MakeDurable():
                        result = self._publish(event)
                        reply = result is not NotificationResult.REFUSED
                    case Respond():
                        if action.result is NotificationResult.REPEATED:
                            result = action.result
                    case Remember():
                        memory.note([*action.ids, *action.also], self._clock.now())
        return result


class CatchingUp(BackgroundWorker):
    """Runs rounds at start and periodically. A later round finds events that a stop has left unpublished."""

    def __init__(
        self,
        catch_up: CatchUp,
        *,
        at_start: bool,
        interval: float,
        retry: float = RETRY,
        grace: float = GRACE,
    ) -> None:
        """`interval`, `retry` and `grace` are in seconds; with an interval of 0 only the round at start runs."""
        self._soon = min(retry, interval or retry)
        super().__init__("catching-up", after=0.0 if at_start else interval, retry=self._soon)
        self._catch_up = catch_up
        self._interval = interval
        self._grace = grace
        #: Whether the extra round for messages that were too young at start has been scheduled.
        self._waited = False

    def run_once(self) -> float | None:
        """Run a round."""
        try:
            caught = self._catch_up.run()
        except (LedgerUnavailable, ArchiveUnavailable) as e:
            _log.warning("catch_up.failed", reason=str(e))
            return self._soon
        log = _log.info if caught.whole else _log.warning
        log("catch_up.ended", **asdict(caught))
        # An incomplete thread may stay incomplete: it waits for the next interval.
        return self._soon if caught.refused or caught.unreadable else self._interval or self._last(caught)

    def _last(self, caught: Caught) -> float | None:
        """Return the seconds until the extra round; later messages arrive while the webhook listens."""
        if not caught.young or self._waited:
            return None
        self._waited = True
        return self._grace
