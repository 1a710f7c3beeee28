"""Deletion of records older than the ledger's retention, in batches."""

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

#: Commands deleted in one transaction: few, since workers wait for it.
BATCH = 200
#: Notifications deleted in one transaction: their rows are short, and more webhooks arrive than commands.
NOTIFICATIONS = 1_000


def is_over(before: float) -> ColumnElement[bool]:
    """Return the condition for pruning a command: last changed before `before`, and no unfinished submission."""
    open_ = exists().where(submissions.c.command_id == commands.c.id, submissions.c.state.in_(OPEN))
    return (commands.c.updated_at < before) & ~open_


def count(connection: Connection, before: float) -> int:
    """Return the number of commands that a prune would delete."""
    return connection.execute(select(func.count()).select_from(commands).where(is_over(before))).scalar_one()


def candidates(connection: Connection, before: float) -> list[str]:
    """Return the ids of the oldest commands to delete, one batch at most."""
    oldest = select(commands.c.id).where(is_over(before)).order_by(commands.c.updated_at).limit(BATCH)
    return list(connection.execute(oldest).scalars())


def read_set_of(command_id: str) -> ReadSet:
    """Return the read set that is locked while a command is deleted: a replay might reopen it."""
    return ReadSet(command_id=command_id)


def delete_commands(connection: Connection, ids: Sequence[str], before: float) -> int:
    """Delete those commands that still meet `is_over`, and other records that old; return the number of commands."""
    over = select(commands.c.id).where(commands.c.id.in_(ids), is_over(before))
    over_ids = list(connection.execute(over).scalars())
    connection.execute(delete(submissions).where(submissions.c.command_id.in_(over_ids)))
    connection.execute(delete(receipts).where(receipts.c.command_id.in_(over_ids)))
    connection.execute(delete(commands).where(commands.c.id.in_(over_ids)))
    stale = select(observed_messages.c.message_id).where(observed_messages.c.sent_at < before).limit(BATCH)
    connection.execute(delete(observed_messages).where(observed_messages.c.message_id.in_(stale)))
    times = (buckets.c.next_free, buckets.c.next_queued, buckets.c.open_at)
    connection.execute(delete(buckets).where(*(time < before for time in times)))
    # Published receipts are recorded there, also where no ingest prunes this ledger.
    delete_notifications(connection, before)
    return len(over_ids)


def delete_notifications(connection: Connection, before: float) -> int:
    """Delete the oldest notifications seen before `before`, one batch at most; return their number."""
    seen_at = notifications.c.seen_at
    oldest = select(notifications.c.event_id).where(seen_at < before).order_by(seen_at).limit(NOTIFICATIONS)
    # In one statement: on SQLite a transaction that begins by reading may not be able to write later.
    return connection.execute(delete(notifications).where(notifications.c.event_id.in_(oldest))).rowcount
