"""The order of a delivery, from top to bottom: parse, claim, send or look up, record, publish, acknowledge or delay.

No other module contains this order. `CommandDelivery.steps` is a generator without I/O: it yields actions
(`bridge.worker.actions`) and is sent the result of each. The worker's executor carries them out, and so do the model
test and the benchmark of many workers, each in its own environment.

No outcome is lost, because a delivery is acknowledged only when each of its submissions has an outcome whose event the
broker has confirmed, or a confirmed copy of the command that comes back for it.
"""

from __future__ import annotations

from dataclasses import replace
from sys import maxsize
from typing import TYPE_CHECKING, assert_never

from bridge.domain.commands import SendSms
from bridge.domain.dead_letters import is_moved_letter
from bridge.domain.deliveries import read
from bridge.domain.ledger import Call, Conflict, HasOutcome, Lookup, NotBefore, Superseded
from bridge.domain.ledger.claim import SHORT_WAIT
from bridge.worker import changes
from bridge.worker.actions import (
    Acknowledge,
    Answered,
    AwaitConfirms,
    BeginVersion,
    Claimed,
    ClaimSubmission,
    FindCommand,
    Fork,
    HistoryRead,
    Joined,
    Pause,
    PublishCopy,
    PublishDeferral,
    PublishInvalid,
    PublishOutcome,
    ReadHistory,
    Recorded,
    RecordResult,
    Requeue,
    ReturnDeadLetter,
    SendSubmission,
    WaitHere,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.ledger import Claim
    from bridge.domain.messages import Delivery
    from bridge.domain.outcome_messages import SendRules
    from bridge.worker.actions import Steps

#: Seconds until a command that the ledger refuses is requeued, since the broker redelivers it at once.
REFUSED_PAUSE = 1.0


class CommandDelivery:
    """One delivery of the command queue, and its progress. Times are in seconds since the epoch."""

    __slots__ = ("_conflicts", "_now", "_owes_copy", "_rules", "received", "requeued", "version", "waits")

    def __init__(
        self, delivery: Delivery, rules: SendRules, *, now: float, new_id: Callable[[], str]
    ) -> None:
        """Parse the delivery; `new_id` makes the id of a command without one, if the configuration allows that."""
        self.received = read(delivery, rules=rules.commands, now=now, new_id=new_id)
        self._rules = rules
        self._now = now
        #: The version of the command; a new one once the delivery has replaced a copy that never came.
        self.version = self.received.version
        #: The submissions that wait, and the time at which each is due.
        self.waits: dict[int, float] = {}
        #: Whether one of them waits for this delivery, rather than for another one.
        self._owes_copy = False
        self._conflicts = False
        #: Whether the delivery ends with a requeue rather than an acknowledgement.
        self.requeued = False

    # --- the order -----------------------------------------------------------------------------------------------

    def steps(self) -> Steps[None]:
        """Carry the delivery to its acknowledgement."""
        delivery = self.received.delivery
        if is_moved_letter(delivery, rules=self._rules.commands, now=self._now):
            yield ReturnDeadLetter()
        elif submissions := (yield from self._count_submissions()):
            joined: Joined = yield Fork([self._submission(index) for index in range(submissions)])
            yield from self._leave_copy(joined)
        elif not self.requeued:
            yield PublishInvalid(conflict=False)
        yield AwaitConfirms()
        yield Requeue() if self.requeued else Acknowledge()

    def _submission(self, index: int) -> Steps[None]:
        """Carry one submission to its outcome, to the time of its next step, or back to the queue."""
        while True:
            claimed: Claimed = yield ClaimSubmission(index)
            match claimed.verdict:
                case Call() as call:
                    recorded: Recorded = yield from self._send(index, claimed.owner, call)
                    again = yield from self._publish_recorded(index, recorded)
                case Lookup() as lookup:
                    recorded = yield from self._look_up(index, claimed.owner, lookup)
                    again = yield from self._publish_recorded(index, recorded)
                case NotBefore() as later:
                    again = yield from self._wait(index, later, claimed.now)
                case HasOutcome() | Conflict() | Superseded() as known:
                    again = yield from self._publish_known(index, known)
                case None:
                    again = yield from self._requeue()
                case _:
                    assert_never(claimed.verdict)
            if not again:
                return

    # --- parse ---------------------------------------------------------------------------------------------------

    def _count_submissions(self) -> Steps[int]:
        """Return the number of submissions of a command that is valid, or was when it was first recorded; else 0."""
        received = self.received
        if isinstance(received.parsed, SendSms):
            return len(received.parsed.destinations)
        if received.parsed.id is None or not (received.delayed or received.delivery.redelivered):
            return 0
        lax_rules = replace(self._rules.commands, max_destinations=maxsize, unknown_fields="warn")
        reparsed = read(received.delivery, rules=lax_rules, now=self._now, new_id=str)
        if not isinstance(reparsed.parsed, SendSms):
            return 0
        content_hash: bytes | None = yield FindCommand(changes.command_id_of(reparsed))
        if content_hash is None:
            return (yield from self._requeue())
        if content_hash != reparsed.parsed.content_hash:
            return 0
        self.received = replace(reparsed, traceparent=received.traceparent)
        return len(reparsed.parsed.destinations)

    # --- claim ---------------------------------------------------------------------------------------------------

    def claim(self, index: int, *, owner: str, now: float) -> Claim:
        """Return the claim of a submission; `owner` is the unique name of the claim."""
        return changes.claim(self.received, index, self._rules, version=self.version, owner=owner, now=now)

    def _wait(self, index: int, later: NotBefore, now: float) -> Steps[bool]:
        """Wait in the worker or in the delay queues; return whether to claim again now."""
        if later.version is not None:
            self.version = later.version
        # A short wait ends here sooner than in the delay queues.
        if later.limited and later.at - now <= SHORT_WAIT and (yield WaitHere(later.at)):
            return True
        self._await(index, later.at, own=later.own)
        return False

    def _requeue(self) -> Steps[bool]:
        self.requeued = True
        yield Pause(REFUSED_PAUSE)
        return False

    def _await(self, index: int, at: float, *, own: bool) -> None:
        self.waits[index] = at
        self._owes_copy = self._owes_copy or own

    # --- send or look up, record ---------------------------------------------------------------------------------

    def _send(self, index: int, owner: str, call: Call) -> Steps[Recorded]:
        """Call the provider and record its answer."""
        self.version = call.version
        answered: Answered = yield SendSubmission(changes.submission_of(self.received, index), call.attempts)
        change = changes.record_answer(
            self.received, index, self._rules, owner=owner, call=call, answered=answered
        )
        recorded: Recorded = yield RecordResult(index, change)
        return recorded

    def _look_up(self, index: int, owner: str, lookup: Lookup) -> Steps[Recorded]:
        """Look up a submission that may have been sent, and record the result."""
        self.version = lookup.version
        sought = changes.sought_submission(self.received, index)
        found: HistoryRead = yield ReadHistory(sought, lookup.window)
        change = changes.record_lookup(
            self.received, index, self._rules, owner=owner, lookup=lookup, found=found
        )
        recorded: Recorded = yield RecordResult(index, change)
        return recorded

    # --- publish -------------------------------------------------------------------------------------------------

    def _publish_recorded(self, index: int, recorded: Recorded) -> Steps[bool]:
        """Publish the recorded result; return whether to claim again now."""
        result = recorded.result
        if result is None:
            # Another worker has taken the submission over.
            self.requeued = True
            return False
        if result.outcome is not None and result.stored_event is not None:
            yield PublishOutcome(index, result.outcome, result.stored_event, dead=True, fresh=True)
            return False
        retry_at = result.retry_at or 0.0
        if result.deferred is None and retry_at <= recorded.now:
            return True
        self._await(index, retry_at, own=True)
        if result.deferred is not None:
            yield PublishDeferral(result.deferred)
        return False

    def _publish_known(self, index: int, known: HasOutcome | Conflict | Superseded) -> Steps[bool]:
        """Publish the existing outcome of a submission, or that the command's id belongs to another command."""
        match known:
            case HasOutcome():
                # A duplicate of a command that ended long ago gets no second dead letter; in other cases, the first may
                # not have been published.
                is_owner = known.fresh or known.own
                is_due = is_owner or self.received.delivery.redelivered or self.received.delayed
                yield PublishOutcome(index, known.outcome, known.stored_event, dead=is_due, fresh=known.fresh)
            case Conflict():
                if not self._conflicts:
                    self._conflicts = True
                    yield PublishInvalid(conflict=True)
            case Superseded():
                pass
        return False

    # --- delay ---------------------------------------------------------------------------------------------------

    def _leave_copy(self, joined: Joined) -> Steps[None]:
        """Publish a delayed copy of the command for the submissions that wait."""
        if not self.waits:
            return
        copy_version = self.received.version
        version: int | None = None
        # A submission with an attempt gets a copy even if the delivery is lost: a queue that was deleted redelivers
        # nothing.
        if self._owes_copy and (joined.lost or not self.requeued):
            version = yield BeginVersion(
                changes.begin_version(self.received, self.version, self.waits, now=joined.now)
            )
        elif self.requeued or joined.lost:
            return
        # If another delivery has begun a version, this one waits like any second delivery of the command.
        yield PublishCopy(copy_version if version is None else version, min(self.waits.values()))

    def clock_set(self, step: float) -> None:
        """Keep the remaining waits after the clock was set by `step` seconds."""
        self.waits = {index: at + step for index, at in self.waits.items()}
