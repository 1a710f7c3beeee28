"""A memory of notifications without a ledger or a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence


class FakeKeeper:
    """Fills `bridge.ingest.deduplication.Keeper`."""

    def __init__(self, *, away: bool = False) -> None:
        self.noted: list[str] = []
        #: While set, nobody can tell what was noted.
        self.away = away

    def known(self, ids: Collection[str], told: Callable[[Collection[str]], None]) -> None:
        """Tell those that were noted."""
        told(() if self.away else [id_ for id_ in ids if id_ in self.noted])

    def note(self, ids: Sequence[str], also: Sequence[str] = ()) -> None:
        """Note them."""
        self.noted.extend([*ids, *also])
