"""The ledger's rules: records of commands and submissions, and the changes that may be made to them.

A change is a pure function of a unit of work. The store reads the rows that a batch of changes needs, applies the
changes and writes the result, in one durable transaction. The rules are therefore the same for every database, nothing
here waits, and a fence is a comparison.

    state       meaning                                            left by
    (no row)    never claimed: no call was ever made               Claim -> attempting, waiting, outcome
    waiting     not claimed, due at `retry_at`                     Claim -> attempting, outcome
    attempting  claimed: a call may be in flight                   RecordAnswer (its owner), Claim (after the lease)
    in_doubt    may have been sent; claimed during a lookup        Resolve (its owner) -> waiting, in_doubt, outcome
    an outcome  terminal, with the event to publish                Claim with a replay of it -> waiting, in_doubt

A *claim* is a lease with an owner. While the lease may be valid, no other worker touches the submission, and an owner
that has lost it can't record a result. A *version* is the fencing token of delayed copies: each rescheduling of the
command begins a new one. A copy with an older version waits like a second delivery of the command until all outcomes
are published. It is not dropped, since only the broker knows whether the newer copy exists.

No outcome is lost, because a delivery is acknowledged only after each submission either has a published outcome or is
covered by a copy that the broker has confirmed:

    the delivery's submissions          published before the acknowledgement
    all have outcomes                   no copy
    one waits for this delivery         a copy of the new version: `NewVersion`, and `IncludeInCopy` for each submission
                                        that is `NotBefore`, in one transaction
    all that wait are held by others,   a copy with the version that the delivery itself had, if any
      or `NewVersion` returned None
"""

from bridge.domain.ledger.claim import Claim
from bridge.domain.ledger.command_changes import IncludeInCopy, NewVersion, ReadCommand
from bridge.domain.ledger.endings import NextStep, RecordAnswer, RecordedResult
from bridge.domain.ledger.lost_rows import Restored, restored
from bridge.domain.ledger.observed_message import ObservedMessage
from bridge.domain.ledger.records import (
    ATTEMPTING,
    IN_DOUBT,
    WAITING,
    CommandRecord,
    Replay,
    StoredEvent,
    SubmissionRecord,
)
from bridge.domain.ledger.resolve import Resolve
from bridge.domain.ledger.time import ClockSet
from bridge.domain.ledger.unit_of_work import Bucket, Change, Expected, ReadSet, SubmissionId, UnitOfWork
from bridge.domain.ledger.verdicts import Call, Conflict, HasOutcome, Lookup, NotBefore, Superseded, Verdict

__all__ = [
    "ATTEMPTING",
    "IN_DOUBT",
    "WAITING",
    "Bucket",
    "Call",
    "Change",
    "Claim",
    "ClockSet",
    "CommandRecord",
    "Conflict",
    "Expected",
    "HasOutcome",
    "IncludeInCopy",
    "Lookup",
    "NewVersion",
    "NextStep",
    "NotBefore",
    "ObservedMessage",
    "ReadCommand",
    "ReadSet",
    "RecordAnswer",
    "RecordedResult",
    "Replay",
    "Resolve",
    "Restored",
    "StoredEvent",
    "SubmissionId",
    "SubmissionRecord",
    "Superseded",
    "UnitOfWork",
    "Verdict",
    "restored",
]
