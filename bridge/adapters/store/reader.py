"""A read-only view of a ledger, for operators."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import func, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from bridge.adapters.store import retention, schema
from bridge.adapters.store.facts import facts_of
from bridge.adapters.store.ledger import unavailable
from bridge.adapters.store.tables import commands, metadata, submissions
from bridge.adapters.store.unit_of_work import command_record, submission_record
from bridge.domain.ledger.records import OPEN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Connection, Engine

    from bridge.adapters.store.sessions import DatabaseServer
    from bridge.domain.ledger import CommandRecord
    from bridge.domain.lineage import Lineage, Remembered

#: The privileges that a bridge needs on its tables.
VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The contents of a ledger in numbers. Times are seconds since the epoch."""

    identity: str | None
    revision: str | None
    #: The lineage of the server, and the recorded one; None if there is no lineage.
    lineage: Lineage | None
    remembered: Remembered | None
    restored_at: float | None
    commands: int
    #: Submissions by their state.
    states: Mapping[str, int] = field(default_factory=dict)
    #: The creation time of the oldest command with an unfinished submission.
    oldest_open_at: float | None = None


class LedgerReader:
    """A ledger opened for reading. All methods raise LedgerUnavailable or LedgerUnusable if it can't be read."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        #: Whether `content_hash` has checked the tables once; if they change later, its query fails.
        self._is_checked = False

    def check(self) -> None:
        """Check that there is a ledger that this bridge can read."""
        with self._transaction() as connection:
            schema.check(connection)

    def summary(self) -> Summary:
        """Return a summary of the ledger."""
        with self._transaction() as connection:
            revision = schema.check(connection)
            facts = facts_of(connection)
            by_state = select(submissions.c.state, func.count().label("number")).group_by(submissions.c.state)
            waiting = select(submissions.c.command_id).where(submissions.c.state.in_(OPEN))
            oldest = select(func.min(commands.c.created_at)).where(commands.c.id.in_(waiting))
            return Summary(
                identity=facts.identity,
                revision=revision,
                lineage=_lineage(connection),
                remembered=facts.remembered,
                restored_at=None if facts.restored is None else facts.restored.at,
                commands=connection.execute(select(func.count()).select_from(commands)).scalar_one(),
                states={row.state: row.number for row in connection.execute(by_state)},
                oldest_open_at=connection.execute(oldest).scalar_one_or_none(),
            )

    def server(self) -> DatabaseServer | None:
        """Return the server behind the connection; None for a file."""
        with self._transaction() as connection:
            if connection.dialect.name != "postgresql":
                return None
            from bridge.adapters.store.sessions import server_of

            return server_of(connection)

    def missing_permissions(self) -> list[str]:
        """Return the privileges that a bridge needs and the database does not grant; none for a file."""
        with self._transaction() as connection:
            if connection.dialect.name != "postgresql":
                return []
            if connection.execute(select(func.current_schema())).scalar_one() is None:
                return ["USAGE of a schema of its search_path"]
            there = set(inspect(connection).get_table_names())
            missing = [
                f"{verb} {table}"
                for table in metadata.tables
                if table in there
                for verb in VERBS
                if not connection.execute(select(func.has_table_privilege(table, verb))).scalar_one()
            ]
            if there.issuperset(metadata.tables):
                return missing
            may_create = func.has_schema_privilege(func.current_schema(), "CREATE")
            return [
                *missing,
                *([] if connection.execute(select(may_create)).scalar_one() else ["CREATE tables"]),
            ]

    def command(self, command_id: str) -> CommandRecord | None:
        """Return a command with all its submissions."""
        with self._transaction() as connection:
            schema.check(connection)
            mine = select(commands).where(commands.c.id == command_id)
            row = connection.execute(mine).one_or_none()
            if row is None:
                return None
            record = command_record(row)
            theirs = select(submissions).where(submissions.c.command_id == command_id)
            for found in connection.execute(theirs.order_by(submissions.c.position)):
                record.submissions[found.position] = submission_record(found)
            return record

    def content_hash(self, command_id: str) -> bytes | None:
        """Return the hash of a command's content; None if the command does not exist."""
        with self._transaction() as connection:
            if not self._is_checked:
                schema.check(connection)
                self._is_checked = True
            mine = select(commands.c.content_hash).where(commands.c.id == command_id)
            found = connection.execute(mine).scalar_one_or_none()
            return None if found is None else bytes(found)

    def prunable(self, before: float) -> int:
        """Return the number of commands that a prune would delete."""
        with self._transaction() as connection:
            schema.check(connection)
            return retention.count(connection, before)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as e:
            raise unavailable(e) from e


def _lineage(connection: Connection) -> Lineage | None:
    if connection.dialect.name != "postgresql":
        return None
    from bridge.adapters.store.sessions import lineage_of

    return lineage_of(connection)
