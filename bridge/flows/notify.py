"""Notification in, event out: all that stands between the webhook's bytes and what is published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.core.events import event_id, make_event
from bridge.core.notifications import parse_notification

if TYPE_CHECKING:
    from bridge.core.events import Event
    from bridge.core.notifications import Notification


def receive(body: bytes, *, source: str, now: float, camel_case: bool = False) -> Event:
    """Return the event that a webhook body becomes. `now` is in seconds since the epoch.

    Raises:
        InvalidNotification: `body` is not a notification; its reasons may be logged.

    """
    return to_event(parse_notification(body), source=source, time=now, camel_case=camel_case)


def to_event(notification: Notification, *, source: str, time: float, camel_case: bool = False) -> Event:
    """Return the event for `notification`, with the same id for the same notification whenever it comes.

    `time` is in seconds since the epoch. The event has no subject: it belongs to no command.
    """
    return make_event(
        id=event_id(*notification.identity),
        type=notification.event_type,
        source=source,
        time=time,
        data=notification.data,
        camel_case=camel_case,
    )
