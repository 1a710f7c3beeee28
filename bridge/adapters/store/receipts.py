"""Pending receipts: which are due, and which worker polls them.

Like notifications they are not under the commands' locks. One statement moves the taken receipts' times into the
future, so that no two workers poll for one at the same time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select, text, tuple_, update

from bridge.adapters.store.seen import sent
from bridge.adapters.store.tables import notifications, receipts, submissions
from bridge.adapters.store.transactions import TransactionalStore
from bridge.domain.receipts import PendingReceipt, receipt_ids

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection

    from bridge.domain.ledger import SubmissionId

_KEY = (receipts.c.command_id, receipts.c.position)
_NOTE = text(
    "INSERT INTO notifications (event_id, seen_at) VALUES (:event_id, :seen_at) ON CONFLICT DO NOTHING"
)


class SqlReceipts(TransactionalStore):
    """Fills the port `Receipts`. Used by one thread at a time.

    The engine begins transactions without a lock; the tables exist.
    """

    def due_at(self) -> float | None:
        """Return the time when the next receipt is due; see `bridge.ports.Receipts`."""
        return self._transaction(_due_at)

    def take(self, now: float, until: float, limit: int) -> Sequence[PendingReceipt]:
        """Take due receipts; see `bridge.ports.Receipts`."""
        return self._transaction(lambda connection: _take(connection, now, until, limit))

    def postpone(self, asks: Mapping[SubmissionId, float]) -> None:
        """Set later times; see `bridge.ports.Receipts`."""

        def work(connection: Connection) -> None:
            for submission_id, at in asks.items():
                connection.execute(update(receipts).where(_is(submission_id)).values(ask_at=at))

        self._transaction(work)

    def end(self, submission_ids: Collection[SubmissionId], published: Collection[str], now: float) -> None:
        """Delete pending receipts; see `bridge.ports.Receipts`."""
        noted = [{"event_id": id_, "seen_at": now} for id_ in sorted(published)]

        def work(connection: Connection) -> None:
            for submission_id in submission_ids:
                connection.execute(delete(receipts).where(_is(submission_id)))
            if noted:
                connection.execute(_NOTE, noted)

        self._transaction(work)


def _due_at(connection: Connection) -> float | None:
    earliest: float | None = connection.execute(select(func.min(receipts.c.ask_at))).scalar_one()
    return earliest


def _take(connection: Connection, now: float, until: float, limit: int) -> list[PendingReceipt]:
    due = select(*_KEY).where(receipts.c.ask_at <= now).order_by(receipts.c.ask_at).limit(limit)
    # PostgreSQL skips rows that another worker's open transaction has locked. SQLite has one writer.
    taking = tuple_(*_KEY).in_(due.with_for_update(skip_locked=True))
    moved = update(receipts).where(taking).values(ask_at=until).returning(*_KEY, receipts.c.sent_at)
    taken = {(row.command_id, row.position): row.sent_at for row in connection.execute(moved)}
    if not taken:
        return []
    mine = tuple_(submissions.c.command_id, submissions.c.position).in_(list(taken))
    rows = connection.execute(select(submissions).where(mine, submissions.c.message_id.is_not(None)))
    found = [sent(row) for row in rows]
    ids = [id_ for one in found for id_ in receipt_ids(one)]
    noted = select(notifications.c.event_id).where(notifications.c.event_id.in_(ids))
    known = set(connection.execute(noted).scalars())
    return [
        PendingReceipt(
            sent=one,
            sent_at=taken[one.command_id, one.index],
            published=not known.isdisjoint(receipt_ids(one)),
        )
        for one in found
    ]


def _is(submission_id: SubmissionId) -> ColumnElement[bool]:
    return (receipts.c.command_id == submission_id.command_id) & (receipts.c.position == submission_id.index)
