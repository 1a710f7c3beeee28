"""Event publisher of one-shot commands: returns once the broker has confirmed the events."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bridge.adapters.amqp.publisher import AmqpPublisher
from bridge.adapters.amqp.short_connection import connected
from bridge.app import parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bridge.domain.events import Event
    from bridge.ports import Clock
    from bridge.settings import Settings

#: Seconds within which the broker has to connect and to confirm an event.
CONFIRM_TIMEOUT = 20.0


@contextmanager
def event_publisher(
    settings: Settings, role: str, clock: Clock, on_crash: Callable[[], None]
) -> Iterator[Callable[[Sequence[Event]], None]]:
    """Lend a function that publishes events and returns once the broker has confirmed all of them.

    Raises:
        ConnectionError: the broker is not reachable, or does not confirm; so does the function.

    """
    address = parts.broker_address(settings)
    publisher = AmqpPublisher(
        parts.connection(address, role, clock, on_crash),
        parts.topology(settings),
        declares=settings.broker.declare,
        deadline=settings.broker.publish_deadline,
    )
    message_of = parts.message_maker(settings)

    def publish(events: Sequence[Event]) -> None:
        confirmed = threading.Semaphore(0)
        for event in events:
            publisher.publish(message_of(event), confirmed.release)
        for _ in events:
            if not confirmed.acquire(timeout=CONFIRM_TIMEOUT):
                raise ConnectionError("the broker did not confirm an event")

    # A publisher waits for the broker. A command has to fail at once if the broker is not reachable.
    with connected(address):
        publisher.start()
    try:
        yield publish
    finally:
        publisher.stop()
