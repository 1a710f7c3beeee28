"""Observed messages: outbound messages that the provider has reported by notification, as evidence for lookups."""

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
    """Record an outbound message whose submission is not known yet."""

    evidence: Evidence

    @property
    def read_set(self) -> ReadSet:
        """The observed messages with its key, and its owner."""
        return ReadSet(match_key=match_key_of(self.evidence), message_ids=(self.evidence.message_id,))

    def apply(self, unit: UnitOfWork) -> None:
        """Record it, unless the message has an owner or is known: an answer or a lookup has more details."""
        key = match_key_of(self.evidence)
        message_id = self.evidence.message_id
        known = any(seen.message_id == message_id for seen in unit.evidence(key))
        if not known and unit.owner_of(message_id) is None:
            unit.seen.append((key, self.evidence))
