"""Makes events durable: the broker confirms them, or the spool has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from bridge.ops import failpoints
from bridge.ports import PublisherFull

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.concurrency.event_loop import LoopCaller
    from bridge.domain.events import Event
    from bridge.domain.messages import Outgoing
    from bridge.ingest.spooler import Spooler
    from bridge.ports import Clock, Publisher


@dataclass(frozen=True, slots=True, kw_only=True)
class Publishing:
    """How events are published."""

    publisher: Publisher
    #: `outgoing_event` of `bridge.domain.events`, its names bound.
    to_message: Callable[[Event], Outgoing]
    clock: Clock


# Not frozen, and each is only itself: one is made for every event.
@dataclass(slots=True, eq=False)
class PendingEvent:
    """An event that a request waits for until it is durable."""

    event: Event
    durable: Callable[[bool], None] = field(repr=False)
    #: When it was given to the publisher, in `Clock.monotonic` seconds; None: it was not.
    since: float | None = None


class DurablePublisher:
    """The one place that the events of all notifications go through, however they came. Used on one event loop."""

    def __init__(self, publishing: Publishing, spooler: Spooler | None = None) -> None:
        """There may be no spooler."""
        self._publisher = publishing.publisher
        self._to_message = publishing.to_message
        self._clock = publishing.clock
        self._spooler = spooler
        #: Where the publisher is going to be woken once this turn of the loop is over.
        self._waking: LoopCaller | None = None

    def make_durable(self, event: Event, durable: Callable[[bool], None], caller: LoopCaller) -> None:
        """Call `durable` with True once the event is, or with False where nothing has taken it.

        Returns at once; `durable` runs on any thread, perhaps twice (the first counts), and must not block. Either is
        final. There is no result yet for an event that the publisher has taken while the broker does not confirm it and
        the spool, if there is one, can't keep it: it is published until it is confirmed, and that may take long.
        """
        message, unconfirmed = self._to_message(event), PendingEvent(event, durable, self._clock.monotonic())
        spooler = self._spooler
        if self._publisher.available:
            if spooler is not None:
                spooler.watched[unconfirmed] = True
            try:
                self._publisher.publish(message, partial(self._confirmed, unconfirmed), soon=False)
            except PublisherFull:
                if spooler is not None:
                    spooler.unwatch(unconfirmed)
            else:
                # Once for all that this turn of the loop brings: to wake the publisher is a system call.
                if self._waking is not caller:
                    self._waking = caller
                    caller.loop.call_soon(self._wake)
                return
        if spooler is None:
            durable(False)  # noqa: FBT003 - that is all there is to say
        else:
            spooler.keep(event, durable)

    def _wake(self) -> None:
        self._waking = None
        self._publisher.flush()

    def _confirmed(self, unconfirmed: PendingEvent) -> None:
        """Say that an event is durable. On the publisher's thread."""
        failpoints.reach("notification-confirmed")
        unconfirmed.durable(True)  # noqa: FBT003 - that is all there is to say
        if self._spooler is not None and not self._spooler.watched.pop(unconfirmed, False):
            # The spool's thread was first: the event is kept, or about to be.
            self._spooler.confirmed(unconfirmed)
