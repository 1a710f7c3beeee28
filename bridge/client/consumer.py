"""The blocking consumer: events from the service's queue, each acknowledged after its handler has returned."""

from __future__ import annotations

import contextlib
import itertools
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Self

from bridge.client.handler import (
    ConsumerOptions,
    Retries,
    UnfinishedError,
    check_blocking,
    check_finished,
    check_seen,
    checked_consuming,
    event_queue,
    log_failure,
)
from bridge.client.options import checked_options
from bridge.client.seen import SeenInMemory
from bridge.client.subscription import QueueSubscription

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bridge.client.events import Event
    from bridge.client.options import Options
    from bridge.client.seen import SeenEvents
    from bridge.domain.messages import Delivery


class Consumer:
    """Events whose type matches one of the keys, from a durable queue of your own; processes may share it.

    Connects at the first use, and reconnects without a limit, with back-off of up to 5 s. A separate thread owns the
    connection, so a handler may be slow; after half an hour (RabbitMQ's `consumer_timeout`) the broker delivers the
    event again. One thread at a time reads; `stop` may be called on any thread, and in a signal's handler.

    A handler that raises is called with the same event again, after 1, 2, 4 and 8 s; then the event is dead-lettered to
    the queue `<queue>.dead` and the next one follows. `RetryLater` and `Discard` change that. Messages that are not
    events are dead-lettered too. An event whose process crashed is delivered again, up to 100 times.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        queue: str,
        keys: Sequence[str] = ("#",),
        options: Options | None = None,
        *,
        seen: SeenEvents | None = None,
        consuming: ConsumerOptions | None = None,
    ) -> None:
        """`keys` are event types, with `*` for one word and `#` for any number. Other bindings of the queue stay.

        `url` is as for `Client`.
        `seen` remembers the handled events: the latest 100,000 in memory by default.

        Raises:
            ConfigurationError: the URL, or a file for TLS, can't be used.
            TypeError, ValueError: an argument has a wrong type or an impossible value.

        """
        options, consuming = checked_options(options), checked_consuming(consuming)
        self._seen = SeenInMemory() if seen is None else seen
        check_seen(self._seen, blocking=True)
        self._retries = Retries(consuming)
        #: Deliveries; None makes the reader check for a `stop` or a refusal.
        self._inbox: SimpleQueue[Delivery | None] = SimpleQueue()
        #: Ends a pause. Not an Event: a signal's handler that sets one can wait for the thread that it interrupted.
        self._stops: SimpleQueue[None] = SimpleQueue()
        self._stopped = False
        own = event_queue(queue, keys, options, consuming)
        self._source = QueueSubscription(url, options, own, self._inbox.put)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def run(self, handler: Callable[[Event], object]) -> None:
        """Call `handler` with each event; acknowledge the event once it has returned. Returns after `stop`.

        Raises:
            AuthenticationError: the broker does not let us in, at the start; later a refused login is tried again.
            QueueRefused: the broker refuses the queue.
            TypeError: the handler is async, or returned a coroutine, a future or a generator: its work is not done, and
                the event is not acknowledged. `bridge.client.aio.Consumer` takes async handlers.

        """
        check_blocking("handler", handler)
        for delivery, event in self._arriving():
            handled = self._is_handled(handler, delivery, event)
            if handled:
                self._source.ack(delivery)
            elif handled is False:
                self._source.reject(delivery)

    def __iter__(self) -> Iterator[Event]:
        """Yield each event; acknowledge it when the next is asked for, so that a `break` leaves it on the queue.

        Ends after `stop`. The loop's body handles its own errors: nothing is retried.

        Raises:
            AuthenticationError, QueueRefused: as with `run`.

        """
        for delivery, event in self._arriving():
            if not self._is_seen(event):
                yield event
                self._remember(event)
            self._source.ack(delivery)

    def stop(self) -> None:
        """End `run`, or the loop, after the current event, or at once during a pause between retries; for good."""
        self._stopped = True
        self._inbox.put(None)
        self._stops.put(None)

    def close(self) -> None:
        """Close the connection. Events that were not acknowledged return to the queue."""
        self.stop()
        self._source.close()

    # --- inside --------------------------------------------------------------------------------------------------

    def _arriving(self) -> Iterator[tuple[Delivery, Event]]:
        """Yield what is delivered until `stop`."""
        self._source.start()
        while not self._stopped:
            delivery = self._inbox.get()
            event = self._source.event_of(delivery)
            if delivery is not None and event is not None and not self._is_stopped():
                yield delivery, event

    def _is_stopped(self) -> bool:
        return self._stopped

    def _is_handled(
        self, handler: Callable[[Event], object], delivery: Delivery, event: Event
    ) -> bool | None:
        """Return whether a handler took an event; None where the broker will deliver it again."""
        for number in itertools.count(1):
            try:
                self._handle(handler, event)
            except UnfinishedError:
                raise
            except Exception as e:  # noqa: BLE001 - an error of one event must not stop the next ones
                log_failure(self._source.log, event, e, number)
                pause = self._retries.pause_after(number, e)
            else:
                return True
            if pause is None:
                return False
            self._pause(pause)
            if self._stopped or not self._source.is_held(delivery):
                break
        return None

    def _handle(self, handler: Callable[[Event], object], event: Event) -> None:
        if not self._is_seen(event):
            check_finished("handler", handler(event))
            self._remember(event)

    def _is_seen(self, event: Event) -> bool:
        seen = self._seen.has(event.id)
        check_finished("seen.has", seen)
        return seen

    def _remember(self, event: Event) -> None:
        check_finished("seen.add", self._seen.add(event.id))  # type: ignore[func-returns-value]  # one that is async

    def _pause(self, seconds: float) -> None:
        with contextlib.suppress(Empty):
            self._stops.get(timeout=seconds)
