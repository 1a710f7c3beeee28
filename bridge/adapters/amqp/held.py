"""Deliveries of one channel that are not settled yet, and how they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


class Held:
    """Counts what a channel has delivered and settles it."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        #: How many came.
        self.delivered = 0
        #: Of those held, those of consumers that were ended: no prefetch bounds them any more.
        self.over = 0
        self._ended_at = 0
        #: The tags of those held, as they came.
        self._tags: dict[int, None] = {}

    def __len__(self) -> int:
        """Return how many are held."""
        return len(self._tags)

    def take(self, tag: int) -> None:
        """Hold another one."""
        self.delivered += 1
        self._tags[tag] = None

    def consumers_ended(self) -> None:
        """Take note that nothing more comes of the channel's consumers."""
        self.over, self._ended_at = len(self._tags), self.delivered

    def settle(self, settlements: Iterable[tuple[int, bool]]) -> None:
        """Take deliveries off the queue where the flag says so, else put them back: each by its tag."""
        acked = set()
        for tag, is_ack in settlements:
            self.over -= tag <= self._ended_at
            if is_ack:
                acked.add(tag)
            else:
                del self._tags[tag]
                self._channel.basic_reject(tag, requeue=True)
        self._ack(acked)

    def _ack(self, acked: set[int]) -> None:
        """Take them off the queue, in one go up to the first that is still held: commands end nearly as they came."""
        up_to = None
        for tag in self._tags:
            if tag not in acked:
                break
            up_to = tag
        if up_to is not None:
            self._channel.basic_ack(up_to, multiple=True)
        for tag in acked:
            del self._tags[tag]
            if up_to is None or tag > up_to:
                self._channel.basic_ack(tag)
