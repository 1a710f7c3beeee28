"""Events off a queue of one's own, one after the other, each acked after its handler has returned."""

from __future__ import annotations

import contextlib
import itertools
import os
import traceback
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Self

from bridge.adapters.amqp.events import AmqpEvents, EventQueue
from bridge.adapters.amqp.replies import read_event
from bridge.adapters.clock import SystemClock
from bridge.client.errors import FORKED, ClientError, Closed, QueueRefused
from bridge.client.events import NotAnEvent, event_from
from bridge.client.log import ClientLog
from bridge.client.options import Options
from bridge.client.seen import SeenInMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bridge.client.events import Event
    from bridge.client.seen import SeenEvents
    from bridge.ports import Delivery

#: Events that are held ahead of their turn.
PREFETCH = 20
#: How often a handler may fail with one event before that goes to the dead.
TRIES = 5
#: Seconds until the handler is called again: the first time, and the most it doubles to.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0


class NotNow(ClientError):
    """For a handler to raise: it is not the event's fault (a database is away). It is tried again without an end."""


class Reject(ClientError):
    """For a handler to raise: no trying again will help. The event goes to the dead at once."""


class Consumer:
    """Events whose type matches one of the keys, from a durable queue that is yours; processes may share it.

    Connects when first used, and again whenever it has to, with a growing pause of up to 5 s; waits for a broker for
    ever. The connection has a thread of its own, so a handler may take its time: after half an hour (RabbitMQ's
    `consumer_timeout`) the broker hands the event out anew. One thread at a time reads; `stop` may be called from any,
    and from a signal's handler.

    A handler that raises is called with the same event again, after 1, 2, 4 and 8 s; then the event goes to the queue
    `<queue>.dead` and the next one follows. `NotNow` and `Reject` say otherwise. What is no event goes to the dead as
    well. A process that dies over an event finds it again; after a hundred returns the broker takes it for poison.
    """

    def __init__(
        self,
        url: str,
        queue: str,
        keys: Sequence[str] = ("#",),
        options: Options | None = None,
        *,
        seen: SeenEvents | None = None,
        tries: int = TRIES,
        first_pause: float = FIRST_PAUSE,
        prefetch: int = PREFETCH,
        declare: bool = True,
    ) -> None:
        """`keys` are types, `*` for any word and `#` for any number of them. What else the queue is bound with stays.

        `seen` remembers what was handled: in memory alone, unless you bring your own. Without `declare` the queue must
        be there, with whatever properties and bindings.
        """
        options = options or Options()
        self._seen = seen or SeenInMemory()
        self._tries = tries
        self._first_pause = first_pause
        self._log = ClientLog(queue=queue)
        #: What came; None to look whether it is over.
        self._inbox: SimpleQueue[Delivery | None] = SimpleQueue()
        #: Cuts a pause. No Event: to set one in a signal's handler can wait for the very thread that it interrupted.
        self._stops: SimpleQueue[None] = SimpleQueue()
        self._stopped = self._closed = False
        self._process: int | None = None
        self._refusal: str | None = None
        self._source = AmqpEvents(
            options.address(url),
            EventQueue(
                exchange=options.events,
                name=queue,
                keys=tuple(keys),
                prefetch=prefetch,
                declares=declare,
            ),
            receive=self._inbox.put,
            fail=self._fail,
            clock=SystemClock(),
            name=options.name,
            log=self._log,
        )

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def run(self, handler: Callable[[Event], object]) -> None:
        """Call `handler` with each event; ack it once that has returned. Returns after `stop`.

        Raises:
            QueueRefused: the broker refuses us the queue.

        """
        for delivery, event in self._arriving():
            handled = self._is_handled(handler, delivery, event)
            if handled:
                self._source.ack(delivery)
            elif handled is False:
                self._source.reject(delivery)

    def __iter__(self) -> Iterator[Event]:
        """Yield each event; ack it when the next is asked for, so one that the loop was left over comes again.

        Ends after `stop`. What the loop's body raises is yours: nothing is tried again by itself.

        Raises:
            QueueRefused: the broker refuses us the queue.

        """
        for delivery, event in self._arriving():
            if not self._seen.has(event.id):
                yield event
                self._seen.add(event.id)
            self._source.ack(delivery)

    def stop(self) -> None:
        """Have `run` return, or the loop end, after the event in hand; for good.

        At once where that is being tried again.
        """
        self._stopped = True
        self._inbox.put(None)
        self._stops.put(None)

    def close(self) -> None:
        """Close the connection. What was not acked goes back to the queue."""
        self.stop()
        self._closed = True
        if self._process == os.getpid():
            self._source.stop()

    # --- inside --------------------------------------------------------------------------------------------------

    def _arriving(self) -> Iterator[tuple[Delivery, Event]]:
        """Yield what comes until it is over; what is no event goes to the dead."""
        self._start()
        while not self._stopped:
            delivery = self._next()
            if delivery is None:
                continue
            try:
                event = event_from(read_event(delivery.body))
            except NotAnEvent as e:
                self._log.warning("event.unreadable", reason=e)
                self._source.reject(delivery)
                continue
            yield delivery, event

    def _next(self) -> Delivery | None:
        """Return what came next; None where it is to come again, or where it may be over."""
        delivery = self._inbox.get()
        if self._refusal is not None:
            raise QueueRefused(self._refusal)
        if self._stopped or delivery is None or not self._source.is_held(delivery):
            return None
        return delivery

    def _start(self) -> None:
        if self._closed:
            raise Closed("this consumer is closed")
        if self._process is None:
            self._process = os.getpid()
            self._source.start()
        elif self._process != os.getpid():
            raise Closed(FORKED)

    def _is_handled(
        self, handler: Callable[[Event], object], delivery: Delivery, event: Event
    ) -> bool | None:
        """Return whether a handler took an event; None where it is to come again."""
        for number in itertools.count(1):
            try:
                if not self._seen.has(event.id):
                    handler(event)
                    self._seen.add(event.id)
            except Reject as e:
                self._tell("event.rejected", event, e, number)
                return False
            except Exception as e:  # noqa: BLE001 - whatever it is, the next event must not suffer for it
                self._tell("handler.failed", event, e, number)
                if number >= self._tries and not isinstance(e, NotNow):
                    return False
            else:
                return True
            self._pause(number)
            if self._stopped or not self._source.is_held(delivery):
                break
        return None

    def _pause(self, number: int) -> None:
        seconds = min(LONGEST_PAUSE, self._first_pause * 2.0 ** min(number - 1, 10))
        with contextlib.suppress(Empty):
            self._stops.get(timeout=seconds)

    def _tell(self, what: str, event: Event, error: Exception, number: int) -> None:
        """Say where a handler failed, not what it said: that may be a number or a text."""
        frame = traceback.extract_tb(error.__traceback__)[-1]
        self._log.warning(
            what,
            type=event.type,
            id=event.id,
            error=type(error).__name__,
            at=f"{frame.filename}:{frame.lineno}",
            attempt=number,
        )

    def _fail(self, reason: str) -> None:
        if "PRECONDITION_FAILED" in reason:
            reason += "; delete it once it is empty, or take it as it is: declare=False"
        self._refusal = reason
        self._inbox.put(None)
