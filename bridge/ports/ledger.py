"""What outlives a process: the ledger, what it remembers of notifications and receipts, and how it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from bridge.domain.ledger import Change, SubmissionId
    from bridge.domain.receipts import PendingReceipt, SentSubmission


class Ledger(Protocol):
    """The durable record of submissions; used by one thread at a time."""

    def apply(self, changes: Sequence[Change]) -> list[object]:
        """Carry the changes out in order, in one durable transaction, and return what each gave back.

        Raises:
            ChangeRefused: one of them is at fault; nothing was committed.
            LedgerUnavailable: nothing was committed.
            LedgerUnusable: likewise, and what is there now is the ledger no longer.

        """
        ...

    def time(self) -> float | None:
        """Return the time of all who share the ledger, in seconds since the epoch; None where it has no clock.

        Raises:
            LedgerUnavailable: it can't be asked.
            LedgerUnusable: what is there now is the ledger no longer.

        """
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...


class Seen(Protocol):
    """Which notifications are events already, by the ids of those; used by one thread at a time.

    A part of the ledger that waits for none of its other users. Both calls may be repeated without harm.
    """

    def known(self, ids: Collection[str]) -> set[str]:
        """Return those of the event ids that were noted, by whichever process.

        Raises:
            LedgerUnavailable: nobody can tell.

        """
        ...

    def note(self, ids: Collection[str], now: float) -> None:
        """Note event ids durably; what was noted before keeps its time. `now` is in seconds since the epoch.

        Raises:
            LedgerUnavailable: none of them was noted.

        """
        ...

    def sent(self, message_id: str) -> SentSubmission | None:
        """Return the submission that was sent as this message of the provider's, if the ledger knows it.

        Raises:
            LedgerUnavailable: nobody can tell.

        """
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...


class Receipts(Protocol):
    """The receipts that are awaited; used by one thread at a time. All calls but `close` raise LedgerUnavailable.

    Times are in seconds since the epoch.
    """

    def due_at(self) -> float | None:
        """Return when the next is due to be asked for; None where none is awaited."""
        ...

    def take(self, now: float, until: float, limit: int) -> Sequence[PendingReceipt]:
        """Take what is due, the longest first, and at most `limit`: nobody else does before `until`."""
        ...

    def postpone(self, asks: Mapping[SubmissionId, float]) -> None:
        """Have receipts due again when it says."""
        ...

    def end(self, submission_ids: Collection[SubmissionId], told: Collection[str], now: float) -> None:
        """Await these no longer, and note the ids of the events that told them, as `Seen` does."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...


class Watermarks(Protocol):
    """Until when the provider's history was read whole, by number of ours, in seconds since the epoch."""

    def watermarks(self) -> dict[str, float]:
        """Return all of them.

        Raises:
            LedgerUnavailable: they can't be read.

        """
        ...

    def advance(self, watermarks: Mapping[str, float]) -> None:
        """Note them; none goes back.

        Raises:
            LedgerUnavailable: nothing was noted.

        """
        ...


class LedgerUnavailable(Exception):
    """The ledger could not commit; the message says why and what to look at."""


class ChangeRefused(Exception):
    """The ledger is well, and one of the changes can't be carried out, ever; the message says why."""


class LedgerUnusable(LedgerUnavailable):
    """The ledger is not for this bridge, and waiting does not change that; the message says what does."""
