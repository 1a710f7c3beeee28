"""A source of commands in memory, which can lose its connection; it has a thread like the real one."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace
from queue import SimpleQueue
from typing import TYPE_CHECKING

from bridge.domain.messages import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class FakeSource:
    """Fills `bridge.ports.CommandSource`."""

    def __init__(
        self, receive: Callable[[Delivery], None], lose: Callable[[], None], *, prefetch: int = 10
    ) -> None:
        self._receive = receive
        self._lose = lose
        self._prefetch = prefetch
        self._queue: deque[Delivery] = deque()
        self._held: dict[tuple[int, int], Delivery] = {}
        self._connection = 1
        self._last = 0
        self._consuming = True
        #: The number of acknowledged commands.
        self.acked = 0
        self._unflushed: deque[Callable[[], None]] = deque()
        self._todo: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="fake-source", daemon=True)

    def start(self) -> None:
        """Start delivering."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._todo.put(None)
        self._thread.join(5)

    def send(
        self,
        body: bytes,
        properties: Mapping[str, object] | None = None,
        headers: Mapping[str, object] | None = None,
    ) -> None:
        """Put a command into the queue."""
        command = Delivery(body, tag=(0, 0), properties=properties or {}, headers=headers or {})
        self._todo.put(lambda: self._queue.append(command))

    def break_off(self) -> None:
        """Lose the connection and reconnect: unsettled deliveries are redelivered."""
        self._todo.put(self._break_off)

    @property
    def consuming(self) -> bool:
        """Whether it delivers commands."""
        return self._consuming

    @property
    def held(self) -> int:
        """The number of unsettled deliveries of this connection."""
        return len(self._held)

    def pause(self) -> None:
        """Stop delivering for now."""
        self._todo.put(lambda: self._consume(wanted=False))

    def resume(self) -> None:
        """Deliver again."""
        self._todo.put(lambda: self._consume(wanted=True))

    def ack(self, delivery: Delivery) -> None:
        """Acknowledge a command."""
        self._unflushed.append(lambda: self._settle(delivery, acked=True))

    def requeue(self, delivery: Delivery) -> None:
        """Requeue a command."""
        self._unflushed.append(lambda: self._settle(delivery, acked=False))

    def flush(self) -> None:
        """Settle the waiting deliveries."""
        while self._unflushed:
            self._todo.put(self._unflushed.popleft())

    # --- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (todo := self._todo.get()) is not None:
            todo()
            while self._consuming and self._queue and len(self._held) < self._prefetch:
                self._last += 1
                delivery = replace(self._queue.popleft(), tag=(self._connection, self._last))
                self._held[delivery.tag] = delivery
                self._receive(delivery)

    def _consume(self, *, wanted: bool) -> None:
        self._consuming = wanted

    def _settle(self, delivery: Delivery, *, acked: bool) -> None:
        held = self._held.pop(delivery.tag, None)
        if held is not None and acked:
            self.acked += 1
        elif held is not None:
            self._queue.appendleft(replace(held, redelivered=True))

    def _break_off(self) -> None:
        self._queue.extendleft(replace(held, redelivered=True) for held in reversed(self._held.values()))
        self._held.clear()
        self._connection, self._last = self._connection + 1, 0
        self._lose()
