"""A spool in memory, whose disk can fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.ports import SPOOL_OVERHEAD, SpoolContents, Spooled, SpoolUnavailable

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bridge.domain.events import Event


class FakeSpool:
    """Fills `bridge.ports.Spool`."""

    def __init__(self) -> None:
        #: The reason why writing fails; None while it works.
        self.broken: str | None = None
        #: The number of transactions.
        self.commits = 0
        self.closed = False
        self._kept: dict[str, tuple[Spooled, float]] = {}
        self._last = 0
        self._moved = 0

    @property
    def ids(self) -> list[str]:
        """The ids of its events, the oldest first."""
        return list(self._kept)

    @property
    def contents(self) -> SpoolContents:
        """The numbers and sizes of its contents."""
        bodies = [spooled.event.body for spooled, _ in self._kept.values()]
        oldest = next((at for _, at in self._kept.values()), None)
        bytes_ = sum(len(body) + SPOOL_OVERHEAD for body in bodies)
        return SpoolContents(len(bodies), bytes_, oldest, moved=self._moved)

    def move(self) -> None:
        """Continue in another file."""
        renumbered = [
            (Spooled(number, spooled.event), at)
            for number, (spooled, at) in enumerate(self._kept.values(), start=1)
        ]
        self._kept = {spooled.event.id: (spooled, at) for spooled, at in renumbered}
        self._last = len(renumbered)
        self._moved += 1

    def change(self, keep: Sequence[Event], forget: Collection[str], *, now: float) -> None:
        """Add and remove events, or fail."""
        self.probe()
        self.commits += 1
        for event in keep:
            if event.id not in self._kept:
                self._last += 1
                self._kept[event.id] = Spooled(self._last, event), now
        for id_ in forget:
            self._kept.pop(id_, None)

    def oldest(self, limit: int, *, after: int) -> list[Spooled]:
        """Return the oldest."""
        return [spooled for spooled, _ in self._kept.values() if spooled.number > after][:limit]

    def probe(self) -> None:
        """Fail if the disk does."""
        if self.broken is not None:
            raise SpoolUnavailable(self.broken)

    def close(self) -> None:
        """Close."""
        self.closed = True
