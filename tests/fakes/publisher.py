"""A publisher in memory that confirms, holds or refuses messages; it has a thread like the real one."""

from __future__ import annotations

import queue
import threading
from collections import deque
from typing import TYPE_CHECKING

from bridge.ports import PublisherFull
from tests.harness.contract_check import look_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.messages import Outgoing


class FakePublisher:
    """Fills `bridge.ports.Publisher`."""

    def __init__(self, *, capacity: int = 1_000_000) -> None:
        #: The accepted messages in order.
        self.taken: list[Outgoing] = []
        self.available = True
        #: While it is unavailable: whether the reason is only a late confirm.
        self.stalled = False
        #: While clear, messages are accepted and not confirmed.
        self.confirming = threading.Event()
        self.confirming.set()
        self._capacity = capacity
        self._unflushed: deque[tuple[Outgoing, Callable[[], None]]] = deque()
        self._unconfirmed: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._confirm, name="fake-publisher", daemon=True)
        self._thread.start()

    @property
    def out_of_service(self) -> bool:
        """Whether it is unavailable for more than a moment."""
        return not self.available and not self.stalled

    def publish(self, message: Outgoing, confirmed: Callable[[], None], *, soon: bool = True) -> None:
        """Accept the message, if there is capacity; without `soon` it waits until the next `flush`."""
        if self._unconfirmed.qsize() >= self._capacity:
            raise PublisherFull
        self._unflushed.append((message, confirmed))
        if soon:
            self.flush()

    def flush(self) -> None:
        """Publish the waiting messages."""
        while self._unflushed:
            message, confirmed = self._unflushed.popleft()
            self.taken.append(message)
            _look_at(message)
            self._unconfirmed.put(confirmed)

    def close(self) -> None:
        """Confirm the held messages and end the thread."""
        self.confirming.set()
        self._unconfirmed.put(None)
        self._thread.join(5)
        if self._thread.is_alive():
            raise AssertionError("a confirm's callback blocks the publisher's thread")

    def _confirm(self) -> None:
        while (confirmed := self._unconfirmed.get()) is not None:
            self.confirming.wait()
            confirmed()


def _look_at(message: Outgoing) -> None:
    """Validate the message against the contract, as the broker would deliver it."""
    look_at(
        message.body,
        exchange=message.exchange,
        routing_key=message.routing_key,
        properties={**message.properties, "content_type": message.content_type, "delivery_mode": 2},
        headers=message.headers,
    )
