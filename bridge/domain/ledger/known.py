"""Whether a command was ever taken: what its content is known by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.domain.ledger.unit_of_work import Needs

if TYPE_CHECKING:
    from bridge.domain.ledger.unit_of_work import UnitOfWork


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
