"""Keeping what the provider told by itself of a message it sent: evidence for whatever may be in doubt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.domain.ledger.unit_of_work import ReadSet
from bridge.domain.match_keys import match_key_of

if TYPE_CHECKING:
    from bridge.domain.evidence import Evidence
    from bridge.domain.ledger.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedMessage:
    """Keep that a message was seen. It belongs to no command that is known yet."""

    evidence: Evidence

    @property
    def read_set(self) -> ReadSet:
        """What was seen of messages like it, and who owns it."""
        return ReadSet(match_key=match_key_of(self.evidence), message_ids=(self.evidence.message_id,))

    def apply(self, unit: UnitOfWork) -> None:
        """Keep it, unless the message has an owner, or was seen: what a look or an answer brought says more."""
        key = match_key_of(self.evidence)
        message_id = self.evidence.message_id
        known = any(seen.message_id == message_id for seen in unit.evidence(key))
        if not known and unit.owner_of(message_id) is None:
            unit.seen.append((key, self.evidence))
