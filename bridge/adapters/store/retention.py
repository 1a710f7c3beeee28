"""Forgetting what is older than the ledger is to remember, a little at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, delete, exists, func, select

from bridge.adapters.store.tables import (
    buckets,
    commands,
    notifications,
    observed_messages,
    receipts,
    submissions,
)
from bridge.domain.ledger import ReadSet
from bridge.domain.ledger.records import OPEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

#: Commands forgotten in one transaction: few, since whoever sends waits meanwhile.
BATCH = 200
#: Notifications forgotten in one transaction: a short row each, and a webhook brings more of them than commands come.
NOTIFICATIONS = 1_000


def is_over(before: float) -> ColumnElement[bool]:
    """Return what a command must meet to be forgotten: last touched before `before`, and nothing of it open."""
    open_ = exists().where(submissions.c.command_id == commands.c.id, submissions.c.state.in_(OPEN))
    return (commands.c.updated_at < before) & ~open_


def count(connection: Connection, before: float) -> int:
    """Return how many commands would be forgotten."""
    return connection.execute(select(func.count()).select_from(commands).where(is_over(before))).scalar_one()


def candidates(connection: Connection, before: float) -> list[str]:
    """Return the ids of the oldest commands to forget, a batch at most."""
    oldest = select(commands.c.id).where(is_over(before)).order_by(commands.c.updated_at).limit(BATCH)
    return list(connection.execute(oldest).scalars())


def read_set_of(command_id: str) -> ReadSet:
    """Return what has to be held while a command is forgotten: a replay might reopen it."""
    return ReadSet(command_id=command_id)


def forget(connection: Connection, ids: Sequence[str], before: float) -> int:
    """Forget those of the commands that still are over, and what else is that old; returns how many commands."""
    over = select(commands.c.id).where(commands.c.id.in_(ids), is_over(before))
    doomed = list(connection.execute(over).scalars())
    connection.execute(delete(submissions).where(submissions.c.command_id.in_(doomed)))
    connection.execute(delete(receipts).where(receipts.c.command_id.in_(doomed)))
    connection.execute(delete(commands).where(commands.c.id.in_(doomed)))
    stale = select(observed_messages.c.message_id).where(observed_messages.c.sent_at < before).limit(BATCH)
    connection.execute(delete(observed_messages).where(observed_messages.c.message_id.in_(stale)))
    times = (buckets.c.next_free, buckets.c.next_queued, buckets.c.open_at)
    connection.execute(delete(buckets).where(*(time < before for time in times)))
    # Receipts that were asked for are noted there, also where no ingest prunes this ledger.
    forget_notifications(connection, before)
    return len(doomed)


def forget_notifications(connection: Connection, before: float) -> int:
    """Forget the oldest notifications that were seen before `before`, a batch at most; returns how many."""
    seen_at = notifications.c.seen_at
    oldest = select(notifications.c.event_id).where(seen_at < before).order_by(seen_at).limit(NOTIFICATIONS)
    # In one statement: on SQLite a transaction that begins by reading may find that it can't write any more.
    return connection.execute(delete(notifications).where(notifications.c.event_id.in_(oldest))).rowcount
