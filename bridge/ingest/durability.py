"""Makes events durable: the broker confirms them, or the spool has them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bridge.ops import failpoints
from bridge.ports import PublisherFull

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.events import Event
    from bridge.domain.messages import Outgoing
    from bridge.ingest.spooler import Spooler
    from bridge.ports import Publisher


class Safekeeping:
    """The one place that every notification's event goes through, whichever way it came. From any thread."""

    def __init__(
        self, publisher: Publisher, *, tell: Callable[[Event], Outgoing], spooler: Spooler | None = None
    ) -> None:
        """`tell` is `outgoing_event` of `bridge.domain.event_messages`, its names bound; there may be no spooler."""
        self._publisher = publisher
        self._tell = tell
        self._spooler = spooler

    def make_durable(self, event: Event, durable: Callable[[bool], None], *, soon: bool = True) -> None:
        """Call `durable` with True once the event is, or with False where nothing has taken it.

        Returns at once; `durable` runs on any thread, perhaps twice (the first counts), and must not block. Either is
        final. What the publisher has taken is neither while the broker says nothing and the spool, if there is one,
        can't keep it: it is published until it is confirmed, and who waits for that may wait long. What need not be
        `soon` waits for a `flush`, from the same thread.
        """
        if self._publisher.available and self._publish(event, durable, soon=soon):
            return
        if self._spooler is None:
            durable(False)  # noqa: FBT003 - that is all there is to say
        else:
            self._spooler.keep(event, durable)

    def flush(self) -> None:
        """Have all that waits for it published: see `bridge.ports.Publisher`."""
        self._publisher.flush()

    def _publish(self, event: Event, durable: Callable[[bool], None], *, soon: bool) -> bool:
        """Return whether the publisher took it."""
        message = self._tell(event)
        key = 0
        told: Callable[[], None] = partial(durable, True)  # noqa: FBT003 - likewise
        if self._spooler is not None:
            key, told = self._spooler.watch(event, durable)
        try:
            self._publisher.publish(message, partial(_confirmed, told), soon=soon)
        except PublisherFull:
            if self._spooler is not None:
                self._spooler.unwatch(key, event)
            return False
        return True


def _confirmed(told: Callable[[], None]) -> None:
    failpoints.reach("notification-confirmed")
    told()
