"""Counts what becomes of notifications, and writes its lines in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from bridge.ports.http_results import NotificationResult

if TYPE_CHECKING:
    from bridge.domain.errors import InvalidNotification
    from bridge.domain.events import Event
    from bridge.ops.metrics import Metrics
    from bridge.ports import Clock

_log = structlog.get_logger()

#: Seconds between two log lines about requests refused with the same status: strangers don't fill our disk.
_REFUSALS_EVERY = 60.0
_LINES = {
    NotificationResult.PUBLISHED: ("notification.accepted", 204),
    NotificationResult.REPEATED: ("notification.repeated", 204),
    NotificationResult.REFUSED: ("notification.refused", 503),
}


class NotificationReport:
    """Used on one event loop."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock
        self._logged: dict[int, float] = {}

    def answered(self, event: Event, result: NotificationResult, seconds: float) -> None:
        """Report that a webhook was answered, so many seconds after it came."""
        line, status = _LINES[result]
        self._metrics.notifications[event.type, status].inc()
        self._metrics.repaired.inc(event.is_repaired)
        if result is NotificationResult.PUBLISHED:
            self._metrics.webhook_seconds.observe(seconds)
        elif result is NotificationResult.REPEATED:
            self._metrics.repeated.inc()
        # A refused one may never come again: how often the provider tries is not known.
        log = _log.warning if result is NotificationResult.REFUSED else _log.info
        log(line, type=event.type, event_id=event.id, status=status, ms=round(seconds * 1000, 1))

    def rejected(self, error: InvalidNotification, size: int | None) -> None:
        """Report that a body of so many bytes was no notification."""
        self._metrics.notifications["none", 400].inc()
        _log.info("notification.refused", type=None, status=400, reasons=error.reasons, bytes=size)

    def refused(self, status: int, client: str | None = None) -> None:
        """Report that the server refused a request; log the first in a minute for each status, with its client."""
        self._metrics.notifications["none", status].inc()
        now = self._clock.monotonic()
        if now - self._logged.get(status, -_REFUSALS_EVERY) >= _REFUSALS_EVERY:
            self._logged[status] = now
            _log.warning("notification.refused", type=None, status=status, client=client)

    def recovered(self, event: Event) -> None:
        """Report that an event was published that no webhook brought."""
        self._metrics.recovered.inc()
        self._metrics.repaired.inc(event.is_repaired)
        _log.info("notification.recovered", type=event.type, event_id=event.id)

    def not_deduplicated(self) -> None:
        """Report that an event is published without the ledger's word that it is new."""
        self._metrics.not_deduplicated.inc()
