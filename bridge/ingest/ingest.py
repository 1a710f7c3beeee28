"""Takes a notification and answers for it: 2xx only once its event is durable (SPEC section 6)."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Protocol

import structlog

from bridge.concurrency.relay import Relay
from bridge.domain.errors import InvalidNotification
from bridge.ingest.deduplication import Fate
from bridge.ops import tracing
from bridge.ports.serving import Taken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from bridge.domain.events import Event
    from bridge.ingest.deduplication import Once, Told
    from bridge.ingest.durability import Safekeeping
    from bridge.ops.metrics import Metrics
    from bridge.ops.tracing import WebhookTracing
    from bridge.ports import Clock, Span
    from bridge.ports.serving import NotificationAnswered

_log = structlog.get_logger()

#: Seconds between two log lines about requests refused with the same status: strangers don't fill our disk.
_REFUSALS_EVERY = 60.0
_TOLD = {
    Fate.PUBLISHED: "notification.accepted",
    Fate.REPEATED: "notification.repeated",
    Fate.REFUSED: "notification.refused",
}


class Receive(Protocol):
    """Reads a notification: `bridge.domain.notification_events.receive` with its source bound."""

    def __call__(self, body: bytes, *, now: float, traceparent: str | None = None) -> Event:
        """Return the event, or raise InvalidNotification. `now` is in seconds since the epoch."""
        ...


class Ingest:
    """What stands behind the door. All of it runs on the door's event loop."""

    def __init__(
        self,
        safekeeping: Safekeeping,
        *,
        receive: Receive,
        clock: Clock,
        metrics: Metrics,
        once: Once,
        confirm_timeout: float,
        own: Callable[[Event, float], Awaitable[Event] | None] | None = None,
        traces: WebhookTracing | None = None,
    ) -> None:
        """`confirm_timeout` is in seconds: how long a request waits at most, for ledger, broker and disk together.

        `own` finds the event that a receipt is known as here: `bridge.ingest.receipt_owner.Owning.own`.
        """
        self._own = own
        self._traces = traces
        self._safekeeping = safekeeping
        self._receive = receive
        self._clock = clock
        self._metrics = metrics
        self._once = once
        self._confirm_timeout = confirm_timeout
        self._relay: Relay | None = None
        #: Receipts whose owner is looked for.
        self._owning: set[asyncio.Future[None]] = set()
        self._logged: dict[int, float] = {}
        #: The event loop's, where the publisher is going to be woken in this turn of it.
        self._flushing: Relay | None = None

    def take(self, body: bytes, answered: NotificationAnswered) -> None:
        """Make what `body` says an event, and call `answered` once it is durable or nobody should wait any longer.

        What is an event already is not made one again. A notification that was not durable in time may still become
        one: when the provider comes again with it, that event has the same id.

        Raises:
            InvalidNotification: `body` is not a notification; `answered` is not called.

        """
        started = self._clock.monotonic()
        span = None if self._traces is None else self._traces.arrived()
        traceparent = None if span is None else span.traceparent
        try:
            event = self._receive(body, now=self._clock.now(), traceparent=traceparent)
        except InvalidNotification as error:
            if span is not None:
                tracing.answered(span, 400)
            self._metrics.notifications["none", 400].inc()
            _log.info("notification.refused", type=None, status=400, reasons=error.reasons, bytes=len(body))
            raise
        self._metrics.repaired.inc(event.is_repaired)
        if span is not None:
            answered = partial(_answer_and_end, answered, span)
        until = self._deadline()
        owned = None if self._own is None else self._own(event, until)
        if owned is None:
            told = partial(self._tell, answered, event, started)
            publish = partial(self._make_durable, event, span)
            self._once.publish((event.id,), publish, told, until=until, also_noted=event.also_noted)
        else:
            task = asyncio.ensure_future(self._take_receipt(owned, event, answered, started, until, span))
            self._owning.add(task)
            task.add_done_callback(self._owning.discard)

    async def recover(self, event: Event) -> Fate:
        """Publish what no webhook brought, as if it had come."""
        told: asyncio.Future[Fate | Exception] = asyncio.get_running_loop().create_future()

        def tell(fate: Fate | Exception) -> None:
            if not told.done():
                told.set_result(fate)

        self._publish((event.id,), event, tell, self._deadline())
        fate = await told
        if isinstance(fate, Exception):
            raise fate
        if fate is Fate.PUBLISHED:
            self._metrics.recovered.inc()
            self._metrics.repaired.inc(event.is_repaired)
            _log.info("notification.recovered", type=event.type, event_id=event.id)
        return fate

    def refused(self, status: int, client: str | None = None) -> None:
        """Count a request that was refused at the door; log the first in a minute for each status, and who it was."""
        self._metrics.notifications["none", status].inc()
        now = self._clock.monotonic()
        if now - self._logged.get(status, -_REFUSALS_EVERY) >= _REFUSALS_EVERY:
            self._logged[status] = now
            _log.warning("notification.refused", type=None, status=status, client=client)

    def _deadline(self) -> float:
        """Return until when a request that begins now may wait, in the event loop's time."""
        self._relay = relay = Relay.here(self._relay)
        return relay.loop.time() + self._confirm_timeout

    async def _take_receipt(
        self,
        finding: Awaitable[Event],
        event: Event,
        answered: NotificationAnswered,
        started: float,
        until: float,
        span: Span | None,
    ) -> None:
        """Take the event that it is known as here, or as it is where nobody can tell in time."""
        owned = event
        try:
            async with asyncio.timeout_at(until):
                owned = await finding
        except TimeoutError:
            pass
        except Exception as mistake:  # noqa: BLE001 - it is handed on
            answered(mistake)
            return
        # It may have come, or come again, while nobody could tell whose it is.
        ids = (event.id,) if owned.id == event.id else (owned.id, event.id)
        self._publish(ids, owned, partial(self._tell, answered, owned, started), until, span)

    def _publish(
        self, ids: Sequence[str], event: Event, told: Told, until: float, span: Span | None = None
    ) -> None:
        """Publish an event once; `ids` are all by which it may be known."""
        self._once.publish(ids, partial(self._make_durable, event, span), told, until=until)

    def _make_durable(self, event: Event, span: Span | None, durable: Callable[[bool], None]) -> None:
        """Call back whether the broker or the spool has the event, once that is certain."""
        if self._traces is not None and span is not None:
            durable = self._traces.published(span, event.type, durable)
        self._relay = relay = Relay.here(self._relay)
        # Called back on any thread, at any time, also after this server is gone.
        self._safekeeping.make_durable(event, partial(relay.tell, durable), soon=False)
        # Once for all that this turn of the loop brings: to wake the publisher is a system call.
        if self._flushing is not relay:
            self._flushing = relay
            relay.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = None
        self._safekeeping.flush()

    def _tell(
        self, answered: NotificationAnswered, event: Event, started: float, fate: Fate | Exception
    ) -> None:
        if isinstance(fate, Exception):
            answered(fate)
            return
        elapsed = self._clock.monotonic() - started
        # First: who posts need not wait for our books.
        answered(Taken.NOT_NOW if fate is Fate.REFUSED else Taken.DURABLE)
        self._account(event, fate, elapsed)

    def _account(self, event: Event, fate: Fate, elapsed: float) -> None:
        """Count it, and write its line."""
        status = 503 if fate is Fate.REFUSED else 204
        self._metrics.notifications[event.type, status].inc()
        if fate is Fate.PUBLISHED:
            self._metrics.webhook_seconds.observe(elapsed)
        elif fate is Fate.REPEATED:
            self._metrics.repeated.inc()
        # What is refused may never come again: nobody knows how often the provider tries.
        log = _log.warning if fate is Fate.REFUSED else _log.info
        log(
            _TOLD[fate],
            type=event.type,
            event_id=event.id,
            status=status,
            ms=round(elapsed * 1000, 1),
        )


def _answer_and_end(answered: NotificationAnswered, span: Span, taken: Taken | Exception) -> None:
    answered(taken)
    statuses: dict[Taken | Exception, int] = {Taken.DURABLE: 204, Taken.NOT_NOW: 503}
    tracing.answered(span, statuses.get(taken, 500))
