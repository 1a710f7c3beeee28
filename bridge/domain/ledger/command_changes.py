"""Changes of a command as a whole: handing it over to a copy of it in the delay, and looking it up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.domain.ledger.records import changed
from bridge.domain.ledger.unit_of_work import Needs

if TYPE_CHECKING:
    from bridge.domain.ledger.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOver:
    """Begin a new generation: the copy about to go to the delay stands for the command from now on.

    Gives back the new generation, or None where this delivery no longer speaks for the command.
    """

    command_id: str
    generation: int
    now: float

    @property
    def needs(self) -> Needs:
        """The command's record alone."""
        return Needs(command_id=self.command_id)

    def apply(self, unit: UnitOfWork) -> int | None:
        """Begin it, unless another delivery has."""
        record = unit.commands.get(self.command_id)
        if record is None or record.generation != self.generation:
            return None
        generation = record.generation + 1
        unit.commands[record.id] = changed(record, generation=generation, updated_at=self.now)
        return generation


@dataclass(frozen=True, slots=True, kw_only=True)
class Carry:
    """Let the copy just handed over look at a submission that its maker has not told, whatever became of it since.

    Applied in one step with `HandOver`, after it. Without it an outcome that somebody else filed between the maker's
    claim and the hand-over would count as told by the maker.
    """

    command_id: str
    index: int

    @property
    def needs(self) -> Needs:
        """Its record."""
        return Needs(command_id=self.command_id, index=self.index)

    def apply(self, unit: UnitOfWork) -> None:
        """Raise the generation that still has to tell it; nothing where there is no outcome yet."""
        record = unit.commands.get(self.command_id)
        submission = None if record is None else record.submissions.get(self.index)
        if record is None or submission is None or submission.filed_in is None:
            return
        carried = changed(submission, filed_in=max(submission.filed_in, record.generation))
        unit.commands[record.id] = record.having(carried, now=record.updated_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Look a command up, and change nothing."""

    command_id: str

    @property
    def needs(self) -> Needs:
        """Its record."""
        return Needs(command_id=self.command_id)

    def apply(self, unit: UnitOfWork) -> bytes:
        """Return the content that it was taken with; nothing of it where it never was."""
        record = unit.commands.get(self.command_id)
        return b"" if record is None else record.content_hash
