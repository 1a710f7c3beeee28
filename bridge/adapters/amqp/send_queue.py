"""Commands that wait to be written, in their order; callers on other threads add some and take theirs back."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.adapters.amqp.batch import Batch, Sending


class SendQueue:
    """A queue out of whose middle a command can be taken at the cost of one at its end. Safe on any thread."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Sending, Batch] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def append(self, commands: Iterable[tuple[Sending, Batch]]) -> None:
        """Add commands at the end."""
        with self._lock:
            self._waiting.update(commands)

    def put_back(self, commands: Sequence[tuple[Sending, Batch]]) -> None:
        """Add commands at the front, the first of them first."""
        with self._lock:
            for sending, batch in reversed(commands):
                self._waiting[sending] = batch
                self._waiting.move_to_end(sending, last=False)

    def pop(self) -> tuple[Sending, Batch] | None:
        """Take out the first command; None if the queue is empty."""
        with self._lock:
            return self._waiting.popitem(last=False) if self._waiting else None

    def take_all(self) -> list[tuple[Sending, Batch]]:
        """Take out all commands, in their order."""
        with self._lock:
            taken = list(self._waiting.items())
            self._waiting.clear()
            return taken

    def discard(self, sendings: Iterable[Sending]) -> None:
        """Take out those of these commands that are here."""
        with self._lock:
            for sending in sendings:
                self._waiting.pop(sending, None)

    def all(self) -> list[tuple[Sending, Batch]]:
        """Return the commands that wait."""
        with self._lock:
            return list(self._waiting.items())
