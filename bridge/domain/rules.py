"""Configured rules for sending, as values. All times are in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRules:
    """The retries of a submission."""

    #: From the first attempt on; the first failed attempt after it ends the submission as `failed`.
    max_age: float = 86400.0
    #: The upper bound of the first delay; each further attempt doubles it.
    base: float = 0.5
    max_delay: float = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileRules:
    """The treatment of submissions in doubt."""

    #: The time after which the provider's history is assumed to show every accepted message.
    settle: float = 60.0
    #: The maximum difference between the provider's clock and ours.
    skew: float = 120.0
    on_absent: Literal["resend", "park"] = "resend"
    on_unknown: Literal["park", "resend"] = "park"
    #: The number of messages of the account that the provider keeps, the newest; 0 if it keeps all.
    history_cap: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRules:
    """The rate limits in submissions per second; 0 means no limit."""

    account_per_second: float = 0.0
    sender_per_second: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptRules:
    """The schedule of the polls for delivery receipts: see `bridge.domain.receipts`."""

    #: The message's age at the first poll; each further poll doubles the age.
    first: float = 30.0
    #: The message's age at the last poll.
    max_age: float = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRules:
    """All rules for the decisions about submissions."""

    #: The lease of a claim.
    lease: float = 120.0
    #: Worker crashes during a claim after which the submission is given up.
    poison_after: int = 5
    #: The time after a restore during which every id that the ledger does not know is looked up; 0 for no lookups.
    restored_lookup: float = 3600.0
    retry: RetryRules = field(default_factory=RetryRules)
    reconcile: ReconcileRules = field(default_factory=ReconcileRules)
    limits: LimitRules = field(default_factory=LimitRules)
    #: None if receipts are not polled.
    receipts: ReceiptRules | None = None
