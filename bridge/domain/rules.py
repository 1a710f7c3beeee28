"""What configuration decides about sending, as values. All times are in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRules:
    """How long and how often a submission is tried."""

    #: From the first attempt on; only an attempt made after it ends in `failed`.
    max_age: float = 86400.0
    #: The first delay's bound; each further attempt doubles it.
    base: float = 0.5
    max_delay: float = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileRules:
    """What is done about an attempt whose effect is not known."""

    #: How long the provider may take to show in its history what it has accepted.
    settle: float = 60.0
    #: How far its clock may be from ours.
    skew: float = 120.0
    on_absent: Literal["resend", "park"] = "resend"
    on_unknown: Literal["park", "resend"] = "park"
    #: How many messages the provider keeps of the whole account, the oldest going first; 0 where it keeps all.
    history_cap: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRules:
    """How many submissions may go out in a second; 0 for any number."""

    account_per_second: float = 0.0
    sender_per_second: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptRules:
    """When the provider is asked what became of a message it has accepted: see `bridge.domain.receipts`."""

    #: The first time, after it was sent; each time after that it has twice the age.
    first: float = 30.0
    #: The last time.
    max_age: float = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRules:
    """Everything that a decision about a submission rests on."""

    #: How long a claim lives.
    lease: float = 120.0
    #: Crashes of a claim's worker after which a submission is given up.
    poison_after: int = 5
    #: How long after a restore every id that the ledger does not know is looked up; 0 for none of them.
    restored_lookup: float = 3600.0
    retry: RetryRules = field(default_factory=RetryRules)
    reconcile: ReconcileRules = field(default_factory=ReconcileRules)
    limits: LimitRules = field(default_factory=LimitRules)
    #: None where nobody asks for receipts.
    receipts: ReceiptRules | None = None
