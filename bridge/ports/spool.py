"""Where events rest while the broker takes none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bridge.domain.events import Event


@dataclass(frozen=True, slots=True)
class Spooled:
    """An event in the spool."""

    #: Grows with every event that is kept: the order of the spool.
    number: int
    event: Event


@dataclass(frozen=True, slots=True)
class SpoolContents:
    """What a spool holds, all in all."""

    events: int
    #: Each event counts with its body and `SPOOL_OVERHEAD`.
    bytes: int
    #: When the oldest was kept, in seconds since the epoch; None where there is none.
    oldest_at: float | None
    #: Events and files that were found damaged and quarantined since it was opened.
    damaged: int = 0
    #: How often all of it had to go to another file, where events may be numbered anew.
    moved: int = 0


#: Bytes that an event takes in the spool beside its body, about.
SPOOL_OVERHEAD = 256


class Spool(Protocol):
    """Keeps events on the disk until the broker has them; used by one thread at a time.

    Damaged events and files are quarantined and counted, and the rest continues. Where its files are removed or
    replaced, the next change or probe writes its events again.
    """

    @property
    def contents(self) -> SpoolContents:
        """What it holds, as of the last change."""
        ...

    def change(self, keep: Sequence[Event], forget: Collection[str], *, now: float) -> None:
        """Keep events, then forget those with the ids `forget`: one transaction, on the disk when this returns.

        An event whose id is kept already is kept as it was; an id that is not kept is no mistake. `now` is in seconds
        since the epoch.

        Raises:
            SpoolUnavailable: nothing was changed, or not where a restart would find it.

        """
        ...

    def oldest(self, limit: int, *, after: int) -> list[Spooled]:
        """Return the oldest events with numbers above `after`, at most `limit`.

        Raises:
            SpoolUnavailable: they can't be read now.

        """
        ...

    def probe(self) -> None:
        """Write something that changes nothing, to learn whether it can be.

        Raises:
            SpoolUnavailable: it can't.

        """
        ...

    def close(self) -> None:
        """Let go of the directory."""
        ...


class SpoolUnavailable(Exception):
    """The spool can't keep or give anything now; the message says why and names the directory."""
