"""Takes a notification and answers for it: 2xx only once its event is durable (SPEC section 6)."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Protocol

import structlog

from bridge.adapters.http.ingest_app import Taken
from bridge.core.errors import InvalidNotification
from bridge.runtime.once import Fate
from bridge.runtime.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bridge.core.events import Event
    from bridge.ports import Clock
    from bridge.runtime.metrics import Metrics
    from bridge.runtime.once import Once
    from bridge.runtime.safekeeping import Safekeeping

_log = structlog.get_logger()

#: Seconds between two log lines about requests refused with the same status: strangers don't fill our disk.
_REFUSALS_EVERY = 60.0
_TOLD = {
    Fate.PUBLISHED: "notification.accepted",
    Fate.REPEATED: "notification.repeated",
    Fate.REFUSED: "notification.refused",
}


class Receive(Protocol):
    """Reads a notification: `bridge.flows.notify.receive` with its source bound."""

    def __call__(self, body: bytes, *, now: float) -> Event:
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
        own: Callable[[Event, float], Awaitable[Event]] | None = None,
    ) -> None:
        """`confirm_timeout` is in seconds: how long a request waits at most, for ledger, broker and disk together.

        `own` makes of an event the one that it is known as here: `bridge.runtime.owning.Owning.own`.
        """
        self._own = own
        self._safekeeping = safekeeping
        self._receive = receive
        self._clock = clock
        self._metrics = metrics
        self._once = once
        self._confirm_timeout = confirm_timeout
        self._relay: Relay | None = None
        self._logged: dict[int, float] = {}

    async def take(self, body: bytes) -> Taken:
        """Make what `body` says an event, and return once it is durable or nobody should wait any longer.

        What is an event already is not made one again. A notification that was not durable in time may still become
        one: when the provider comes again with it, that event has the same id.

        Raises:
            InvalidNotification: `body` is not a notification.

        """
        started = self._clock.monotonic()
        until = self._deadline()
        try:
            event = self._receive(body, now=self._clock.now())
        except InvalidNotification as error:
            self._metrics.notifications["none", 400].inc()
            _log.info("notification.refused", type=None, status=400, reasons=error.reasons, bytes=len(body))
            raise
        owned = await self._owned(event, until)
        # It may have come, or come again, while nobody could tell whose it is.
        fate = await self._publish(owned, until, also=event.id)
        self._answered(owned, fate, self._clock.monotonic() - started)
        return Taken.NOT_NOW if fate is Fate.REFUSED else Taken.DURABLE

    async def recover(self, event: Event) -> Fate:
        """Publish what no webhook brought, as if it had come."""
        fate = await self._publish(event, self._deadline())
        if fate is Fate.PUBLISHED:
            self._metrics.recovered.inc()
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
        return asyncio.get_running_loop().time() + self._confirm_timeout

    async def _owned(self, event: Event, until: float) -> Event:
        """Return the event that it is known as here, or as it is where nobody can tell in time."""
        if self._own is None:
            return event
        try:
            async with asyncio.timeout_at(until):
                return await self._own(event, until)
        except TimeoutError:
            return event

    async def _publish(self, event: Event, until: float, *, also: str | None = None) -> Fate:
        """Publish an event once; `also` is another id by which it may be known."""
        ids = [event.id] if also is None or also == event.id else [event.id, also]
        return await self._once.publish(ids, partial(self._make_durable, event), until=until)

    async def _make_durable(self, event: Event) -> bool:
        """Return whether the broker or the spool has the event, once that is certain."""
        self._relay = relay = Relay.here(self._relay)
        waiting: asyncio.Future[bool] = relay.future()
        # Called back on any thread, at any time, also after this server is gone.
        self._safekeeping.make_durable(event, partial(relay.settle, waiting))
        return await waiting

    def _answered(self, event: Event, fate: Fate, elapsed: float) -> None:
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
