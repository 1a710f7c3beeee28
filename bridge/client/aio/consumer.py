"""The asyncio consumer: events from the service's queue, each acknowledged after its handler."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from typing import TYPE_CHECKING, Any, Protocol, Self

from bridge.client.aio.loop_event import Inbox, LoopEvent, run_aside
from bridge.client.handler import (
    ConsumerOptions,
    Retries,
    UnfinishedError,
    check_awaitable,
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
    from collections.abc import Awaitable, Callable, Sequence

    from bridge.client.events import Event
    from bridge.client.options import Options
    from bridge.domain.messages import Delivery


class SeenEvents(Protocol):
    """Remembers handled events, as `bridge.client.SeenEvents` does; either method may be `async`."""

    def has(self, event_id: str) -> bool | Awaitable[bool]:
        """Whether an event was handled."""
        ...

    def add(self, event_id: str) -> Awaitable[None] | None:
        """Remember that an event was handled; it may be remembered already."""
        ...


class Consumer:
    """Events whose type matches one of the keys, from a durable queue of your own; processes may share it.

    Works as `bridge.client.Consumer` does: a separate thread owns the connection, reconnects without a limit,
    and delivers at most `prefetch` events ahead. Events are handled one after the other; several consumers on one queue
    share the work. A task that is cancelled leaves its event on the queue.
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
        """Take what `bridge.client.Consumer` takes. Needs no running loop.

        Raises:
            ConfigurationError: the URL, or a file for TLS, can't be used.
            TypeError, ValueError: an argument has a wrong type or an impossible value.

        """
        options, consuming = checked_options(options), checked_consuming(consuming)
        self._seen: SeenEvents = SeenInMemory() if seen is None else seen
        check_seen(self._seen, blocking=False)
        self._retries = Retries(consuming)
        self._inbox = Inbox()
        self._stopped = False
        #: Ends the pause between two retries.
        self._pausing: LoopEvent | None = None
        #: The event of an `async for` loop.
        self._current: tuple[Delivery, Event] | None = None
        own = event_queue(queue, keys, options, consuming)
        self._source = QueueSubscription(url, options, own, self._inbox.put)

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    async def run(self, handler: Callable[[Event], Awaitable[object] | object]) -> None:
        """Await `handler` with each event; acknowledge the event once it is done. Returns after `stop`.

        A handler that is not `async` holds the loop up while it runs.

        Raises:
            AuthenticationError: the broker does not let us in, at the start; later a refused login is tried again.
            QueueRefused: the broker refuses the queue.
            TypeError: the handler is a generator, or returned one: its work is not done, and the event is not
                acknowledged.

        """
        check_awaitable("handler", handler)
        self._leave_current()
        while (arrived := await self._next()) is not None:
            delivery, event = arrived
            try:
                handled = await self._is_handled(handler, delivery, event)
            except BaseException:
                # Cancelled, most likely: the next `run` finds the event first.
                self._inbox.put_back(delivery)
                raise
            if handled:
                self._source.ack(delivery)
            elif handled is False:
                self._source.reject(delivery)

    def __aiter__(self) -> Self:
        """Begin a loop; the event at which an earlier loop ended comes first."""
        self._leave_current()
        return self

    async def __anext__(self) -> Event:
        """Acknowledge the event before, and return the next; the loop ends after `stop`.

        Raises:
            AuthenticationError, QueueRefused: as with `run`.

        """
        if self._current is not None:
            delivery, event = self._current
            await self._remember(event)
            self._source.ack(delivery)
            self._current = None
        while (arrived := await self._next()) is not None:
            self._current = arrived
            if not await self._is_seen(arrived[1]):
                return arrived[1]
            self._source.ack(arrived[0])
            self._current = None
        raise StopAsyncIteration

    def stop(self) -> None:
        """End `run`, or the loop, after the current event, or at once during a pause between retries; for good.

        May be called on any thread, and in a signal's handler.
        """
        self._stopped = True
        self._inbox.put(None)
        if self._pausing is not None:
            self._pausing.set()

    async def close(self) -> None:
        """Close the connection. Events that were not acknowledged return to the queue."""
        self.stop()
        await run_aside(self._source.close)

    # --- inside --------------------------------------------------------------------------------------------------

    async def _next(self) -> tuple[Delivery, Event] | None:
        """Return what is delivered next; None after `stop`."""
        self._source.start()
        while not self._stopped:
            delivery = await self._inbox.get()
            event = self._source.event_of(delivery)
            if delivery is not None and event is not None and not self._is_stopped():
                return delivery, event
        return None

    def _is_stopped(self) -> bool:
        return self._stopped

    def _leave_current(self) -> None:
        if self._current is not None:
            self._inbox.put_back(self._current[0])
            self._current = None

    async def _is_handled(
        self, handler: Callable[[Event], Awaitable[object] | object], delivery: Delivery, event: Event
    ) -> bool | None:
        """Return whether a handler took an event; None where the broker will deliver it again."""
        for number in itertools.count(1):
            try:
                await self._handle(handler, event)
            except UnfinishedError:
                raise
            except (Exception, asyncio.CancelledError) as e:
                if _is_our_cancellation(e):
                    raise
                log_failure(self._source.log, event, e, number)
                pause = self._retries.pause_after(number, e)
            else:
                return True
            if pause is None:
                return False
            await self._pause(pause)
            if self._stopped or not self._source.is_held(delivery):
                break
        return None

    async def _handle(self, handler: Callable[[Event], Awaitable[object] | object], event: Event) -> None:
        if not await self._is_seen(event):
            await _finished("handler", handler(event))
            await self._remember(event)

    async def _is_seen(self, event: Event) -> bool:
        return bool(await _finished("seen.has", self._seen.has(event.id)))

    async def _remember(self, event: Event) -> None:
        await _finished("seen.add", self._seen.add(event.id))

    async def _pause(self, seconds: float) -> None:
        self._pausing = LoopEvent()
        if not self._stopped:
            await self._pausing.wait(seconds)
        self._pausing = None


async def _finished(name: str, returned: Any) -> Any:
    """Return what a function, or what it returned to be awaited, comes to.

    Raises:
        UnfinishedError: it is a generator or a thread's future: its work is not done.

    """
    if inspect.isawaitable(returned):
        returned = await returned
    check_finished(name, returned)
    return returned


def _is_our_cancellation(error: BaseException) -> bool:
    """Whether the consumer's task is cancelled, rather than something that its handler waited for."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
