"""Changes to a command as a whole: rescheduling it as a delayed copy, and reading it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.domain.ledger.records import changed
from bridge.domain.ledger.unit_of_work import ReadSet

if TYPE_CHECKING:
    from bridge.domain.ledger.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """Begin a new version of a command, for the copy that is about to go to the delay queues.

    Returns the new version, the fencing token of that copy; None if another delivery has begun one.
    """

    command_id: str
    version: int
    now: float

    @property
    def read_set(self) -> ReadSet:
        """The command's row."""
        return ReadSet(command_id=self.command_id)

    def apply(self, unit: UnitOfWork) -> int | None:
        """Begin the version, if this delivery has the current one."""
        record = unit.commands.get(self.command_id)
        if record is None or record.version != self.version:
            return None
        version = record.version + 1
        unit.commands[record.id] = changed(record, version=version, updated_at=self.now)
        return version


@dataclass(frozen=True, slots=True, kw_only=True)
class IncludeInCopy:
    """Let the new copy publish the outcome of a submission that the present delivery has not published.

    It follows `NewVersion` in the same transaction. Without it, an outcome that another worker has recorded since the
    claim of this delivery would count as published before the copy was made.
    """

    command_id: str
    index: int

    @property
    def read_set(self) -> ReadSet:
        """The record."""
        return ReadSet(command_id=self.command_id, index=self.index)

    def apply(self, unit: UnitOfWork) -> None:
        """Raise the version whose copy publishes the outcome; do nothing if there is no outcome yet."""
        record = unit.commands.get(self.command_id)
        submission = None if record is None else record.submissions.get(self.index)
        if record is None or submission is None or submission.recorded_in is None:
            return
        included = changed(submission, recorded_in=max(submission.recorded_in, record.version))
        unit.commands[record.id] = record.having(included, now=record.updated_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadCommand:
    """Read a command, and change nothing."""

    command_id: str

    @property
    def read_set(self) -> ReadSet:
        """The record."""
        return ReadSet(command_id=self.command_id)

    def apply(self, unit: UnitOfWork) -> bytes:
        """Return the content hash that the command was recorded with; empty for an unknown command."""
        record = unit.commands.get(self.command_id)
        return b"" if record is None else record.content_hash
