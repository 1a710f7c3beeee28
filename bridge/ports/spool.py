"""The port to the spool, which stores events while the broker is unavailable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bridge.domain.events import Event


@dataclass(frozen=True, slots=True)
class Spooled:
    """An event in the spool."""

    #: Increases with every event: the order of the spool.
    number: int
    event: Event


@dataclass(frozen=True, slots=True)
class SpoolContents:
    """The totals of a spool."""

    events: int
    #: The sum of the bodies, and `SPOOL_OVERHEAD` for each event.
    bytes: int
    #: The time at which the oldest event was stored, in seconds since the epoch; None if the spool is empty.
    oldest_at: float | None
    #: Events and files found damaged and quarantined since the spool was opened.
    damaged: int = 0
    #: Damaged files that are not recovered yet.
    quarantined: int = 0
    #: How often the events were moved to another file, which may renumber them.
    moved: int = 0


#: Bytes that an event takes in the spool beside its body, approximately.
SPOOL_OVERHEAD = 256


class Spool(Protocol):
    """Stores events on the disk until the broker has them. Only one thread uses it at a time.

    Damaged events and files are quarantined and counted, and the others stay in use. If the files are removed or
    replaced, the next change or probe writes the events again.
    """

    @property
    def contents(self) -> SpoolContents:
        """The totals after the last change."""
        ...

    def change(self, keep: Sequence[Event], forget: Collection[str], *, now: float) -> None:
        """Store events, then delete those with the ids `forget`, in one transaction that is on the disk on return.

        An event whose id is already stored stays unchanged, and unknown ids to delete are ignored. `now` is in seconds
        since the epoch.

        Raises:
            SpoolUnavailable: nothing was changed, or the change would not survive a restart.

        """
        ...

    def oldest(self, limit: int, *, after: int) -> list[Spooled]:
        """Return the oldest events with numbers above `after`, at most `limit`.

        Raises:
            SpoolUnavailable: the spool cannot be read now.

        """
        ...

    def probe(self) -> None:
        """Write without effect, to check whether the spool is writable.

        Raises:
            SpoolUnavailable: the spool is not writable.

        """
        ...

    def close(self) -> None:
        """Close the files and release the directory."""
        ...


class SpoolUnavailable(Exception):
    """The spool cannot be read or written now; the message has the reason and the directory."""
