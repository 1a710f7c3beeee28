"""A memory of notifications without a ledger or a thread."""

from __future__ import annotations


class FakeKeeper:
    """Fills `bridge.runtime.once.Keeper`."""

    def __init__(self, *, away: bool = False) -> None:
        self.noted: list[str] = []
        #: While set, nobody can tell what was noted.
        self.away = away

    async def known(self, event_id: str) -> bool:
        """Return whether it was noted."""
        return not self.away and event_id in self.noted

    async def note(self, event_id: str) -> None:
        """Note it."""
        self.noted.append(event_id)
