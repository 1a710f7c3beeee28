"""What is remembered of commands and their submissions, and the only ways it may change.

A change is a pure function of what a transaction has in its hands (its unit). The store reads what a batch of changes
needs, carries them out and writes what they leave, all in one durable transaction: whatever the database, these are
the rules. So nothing here waits, and a fence is a comparison.

    state       what it means                                      leaves by
    (no row)    never claimed: no call was ever made               Claim -> attempting, waiting, outcome
    waiting     another look follows at `retry_at`, no claim       Claim -> attempting, outcome
    attempting  claimed: a call may be on its way                  File (its owner), Claim (once the lease is over)
    in_doubt    it may have been sent; claimed while looking       Resolve (its owner) -> waiting, in doubt, outcome
    an outcome  terminal, with the event that tells it             Claim with a replay of it -> waiting, in doubt

A *claim* is a lease with an owner: while it may be alive nobody else touches the submission, and an owner that lost it
can't file. A *version* is the token of delayed copies: each hand-over to the delay begins a new one. A copy that
carries an older one waits like any second delivery of the command until all is told: whether the newer copy ever came
to be, only the broker knows, so nothing unfinished is dropped for an old token.

What keeps an outcome from being lost is that a message leaves the broker only after each submission has either been
told or is looked at by a copy that the broker has confirmed:

    met by the delivery              it leaves behind, before its ack
    only outcomes                    nothing
    a submission that it waits for   HandOver and a Carry for each that is `NotBefore`, in one step: a copy of the new
                                     version
    `NotBefore` alone of others, or      a copy that carries what the delivery itself carried, a token or none
    HandOver gave None
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
