"""Changes of a command as a whole: handing it over to a copy of it in the delay, and looking it up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.domain.ledger.records import changed
from bridge.domain.ledger.unit_of_work import ReadSet

if TYPE_CHECKING:
    from bridge.domain.ledger.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """Begin a new version: the copy about to go to the delay stands for the command from now on.

    Gives back the new version, or None where this delivery no longer speaks for the command.
    """

    command_id: str
    version: int
    now: float

    @property
    def read_set(self) -> ReadSet:
        """The command's record alone."""
        return ReadSet(command_id=self.command_id)

    def apply(self, unit: UnitOfWork) -> int | None:
        """Begin it, unless another delivery has."""
        record = unit.commands.get(self.command_id)
        if record is None or record.version != self.version:
            return None
        version = record.version + 1
        unit.commands[record.id] = changed(record, version=version, updated_at=self.now)
        return version


@dataclass(frozen=True, slots=True, kw_only=True)
class IncludeInCopy:
    """Let the copy just handed over look at a submission that its maker has not told, whatever became of it since.

    Applied in one step with `NewVersion`, after it. Without it an outcome that somebody else filed between the maker's
    claim and the hand-over would count as told by the maker.
    """

    command_id: str
    index: int

    @property
    def read_set(self) -> ReadSet:
        """Its record."""
        return ReadSet(command_id=self.command_id, index=self.index)

    def apply(self, unit: UnitOfWork) -> None:
        """Raise the version that still has to tell it; nothing where there is no outcome yet."""
        record = unit.commands.get(self.command_id)
        submission = None if record is None else record.submissions.get(self.index)
        if record is None or submission is None or submission.recorded_in is None:
            return
        copy_version = changed(submission, recorded_in=max(submission.recorded_in, record.version))
        unit.commands[record.id] = record.having(copy_version, now=record.updated_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadCommand:
    """Look a command up, and change nothing."""

    command_id: str

    @property
    def read_set(self) -> ReadSet:
        """Its record."""
        return ReadSet(command_id=self.command_id)

    def apply(self, unit: UnitOfWork) -> bytes:
        """Return the content that it was taken with; nothing of it where it never was."""
        record = unit.commands.get(self.command_id)
        return b"" if record is None else record.content_hash
