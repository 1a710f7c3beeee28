"""The ports to the ledger: submissions, seen notifications, receipts and watermarks, and the ledger's errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from bridge.domain.ledger import Change, SubmissionId
    from bridge.domain.receipts import PendingReceipt, SentSubmission


class Ledger(Protocol):
    """The durable record of submissions. Only one thread uses it at a time."""

    def apply(self, changes: Sequence[Change]) -> list[object]:
        """Apply the changes in order, in one durable transaction, and return the result of each.

        Raises:
            ChangeRefused: one of the changes cannot be applied; nothing was committed.
            LedgerUnavailable: nothing was committed.
            LedgerUnusable: nothing was committed, and the database is no longer this bridge's ledger.

        """
        ...

    def time(self) -> float | None:
        """Return the database's time in seconds since the epoch, shared by all workers; None if it has no clock.

        Raises:
            LedgerUnavailable: the ledger cannot be read.
            LedgerUnusable: the database is no longer this bridge's ledger.

        """
        ...

    def close(self) -> None:
        """Close the connection to the database."""
        ...


class Seen(Protocol):
    """The ids of published notification events, for deduplication. Only one thread uses it at a time.

    A part of the ledger that does not wait for its other users. All calls are idempotent.
    """

    def known(self, ids: Collection[str]) -> set[str]:
        """Return those of the event ids that any process has noted.

        Raises:
            LedgerUnavailable: the ledger cannot be read.

        """
        ...

    def note(self, ids: Collection[str], now: float) -> None:
        """Note event ids durably; ids noted before keep their time. `now` is in seconds since the epoch.

        Raises:
            LedgerUnavailable: none of them was noted.

        """
        ...

    def sent(self, message_id: str) -> SentSubmission | None:
        """Return the submission that was sent as this provider's message, if the ledger knows it.

        Raises:
            LedgerUnavailable: the ledger cannot be read.

        """
        ...

    def close(self) -> None:
        """Close the connection to the database."""
        ...


class Receipts(Protocol):
    """The pending receipts. Only one thread uses it at a time. All calls but `close` may raise LedgerUnavailable.

    Times are in seconds since the epoch.
    """

    def due_at(self) -> float | None:
        """Return the time of the next poll; None if no receipt is pending."""
        ...

    def take(self, now: float, until: float, limit: int) -> Sequence[PendingReceipt]:
        """Lease at most `limit` receipts that are due, the longest overdue first, until `until`."""
        ...

    def postpone(self, asks: Mapping[SubmissionId, float]) -> None:
        """Set the times of the next polls."""
        ...

    def end(self, submission_ids: Collection[SubmissionId], published: Collection[str], now: float) -> None:
        """Delete pending receipts, and note the ids of the published events as `Seen` does."""
        ...

    def close(self) -> None:
        """Close the connection to the database."""
        ...


class Watermarks(Protocol):
    """The high-water marks of the backfill: the time until which the history of each own number was read completely.

    Times are in seconds since the epoch.
    """

    def watermarks(self) -> dict[str, float]:
        """Return the high-water marks by number.

        Raises:
            LedgerUnavailable: the ledger cannot be read.

        """
        ...

    def advance(self, watermarks: Mapping[str, float]) -> None:
        """Store high-water marks; none is set back.

        Raises:
            LedgerUnavailable: nothing was stored.

        """
        ...


class LedgerUnavailable(Exception):
    """The ledger could not commit; the message has the reason and what to check."""


class ChangeRefused(Exception):
    """One of the changes can never be applied, although the ledger is available; the message has the reason."""


class LedgerUnusable(LedgerUnavailable):
    """The database is not this bridge's ledger, and waiting does not help; the message says what to do."""
