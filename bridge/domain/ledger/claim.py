"""Claiming a submission: for a call, for a look at the provider's history, or learning why there is nothing to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.domain.ledger.claiming import Claiming
from bridge.domain.ledger.limits import buckets_of, reserved_by
from bridge.domain.ledger.records import CommandRecord
from bridge.domain.ledger.time import CLOCK
from bridge.domain.ledger.unit_of_work import Needs
from bridge.domain.ledger.verdicts import Conflict
from bridge.domain.rules import LedgerRules

if TYPE_CHECKING:
    from bridge.domain.commands import SendSms
    from bridge.domain.ledger.unit_of_work import UnitOfWork
    from bridge.domain.ledger.verdicts import Verdict
    from bridge.domain.outcomes import Style


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A dead letter sent back: reopens the submission whose outcome still is the one named."""

    event_id: str
    #: Whether to send anew what nobody could tell, once reconciling has found nothing.
    resend: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Claim one submission, or learn why there is nothing to do for it now."""

    command: SendSms
    index: int
    #: Names this claim and no other: a zombie of the same process must not pass for it.
    owner: str
    now: float
    style: Style
    rules: LedgerRules = field(default_factory=LedgerRules)
    #: The generation the delivery speaks for: that of its copy, or a new one where it has taken another copy's place.
    generation: int = 0
    #: The generation that its copy was made with; 0 for none. Outcomes filed before that copy was made were told.
    carried: int = 0
    #: Whether it comes from the delay: then it had a row when it was made.
    delayed: bool = False
    #: Whether the broker delivered it before.
    redelivered: bool = False
    #: When its publisher says that it published it (AMQP's `timestamp`); None where that is not known.
    published_at: float | None = None
    replay: Replay | None = None
    traceparent: str | None = None

    @property
    def needs(self) -> Needs:
        """Its record, and the limits it may have to wait for."""
        sender = self.command.sender.wire
        return Needs(
            command_id=self.command_id,
            index=self.index,
            buckets=(*buckets_of(sender), CLOCK),
            reserves=reserved_by(sender, self.rules.limits),
        )

    @property
    def command_id(self) -> str:
        """Whose record it changes."""
        assert self.command.id is not None  # noqa: S101 - commands without an id never reach the ledger
        return self.command.id

    def apply(self, unit: UnitOfWork) -> Verdict:
        """Decide; see the table at the head of the package."""
        record = unit.commands.get(self.command_id) or CommandRecord(
            id=self.command_id,
            content_hash=self.command.content_hash,
            created_at=self.now,
            updated_at=self.now,
            generation=self.generation,
        )
        if record.content_hash != self.command.content_hash:
            return Conflict()
        return Claiming(self, unit, record).decide()
