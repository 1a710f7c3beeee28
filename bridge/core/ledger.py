"""What is remembered of commands and their submissions, and the only ways it may change.

A change is a pure function of a command's record. The store reads the records, carries the changes out and writes
what they give back, all in one durable transaction: whatever the database, these are the rules. So nothing here waits,
and a fence is a comparison.

    state       what it means                                      leaves by
    (no row)    never claimed: no call was ever made               Claim -> attempting, waiting, outcome
    waiting     another look follows at `retry_at`, no claim       Claim -> attempting, outcome
    attempting  claimed: a call may be on its way                  File (its owner), Claim (once the lease is over)
    an outcome  terminal, with the event that tells it             -

A *claim* is a lease with an owner: while it may be alive nobody else touches the submission, and an owner that lost it
can't file. A *generation* is the token of delayed copies: each hand-over to the delay begins a new one. A copy that
carries an older one waits like any second delivery of the command until all is told: whether the newer copy ever came
to be, only the broker knows, so nothing unfinished is dropped for an old token.

What keeps an outcome from being lost is that a message leaves the broker only after each submission has either been
told or is looked at by a copy that the broker has confirmed:

    met by the delivery              it leaves behind, before its ack
    only outcomes                    nothing
    a submission that it waits for   HandOver and a Carry for each that is `Later`, in one step: a copy of the new
                                     generation
    `Later` alone of others, or      a copy that carries what the delivery itself carried, a token or none
    HandOver gave None
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, TypeAlias

from bridge.core.answers import ProviderError
from bridge.core.outcomes import Outcome, Result, Style, outcome_event

if TYPE_CHECKING:
    from bridge.core.commands import SendSms
    from bridge.core.events import Event

#: Seconds a waiting submission's copy may be late before another delivery of the command takes its place. A copy comes
#: at most 2 s late (SPEC section 3); behind a long queue more, and then being early costs a look, never a second call.
OVERDUE = 10.0
#: Seconds until a delivery that met somebody else's live claim looks again.
LOOK_AGAIN = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An outcome's event as it was filed: republished byte for byte."""

    event_id: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionRecord:
    """What the ledger holds of one submission. Times are seconds since the epoch."""

    index: int
    #: ``waiting``, ``attempting`` or the value of an `Outcome`.
    state: str
    #: Who holds the claim and until when, while attempting.
    owner: str | None = None
    lease_until: float | None = None
    attempts: int = 0
    first_attempt_at: float | None = None
    retry_at: float | None = None
    #: The provider's id of the message, once accepted.
    message_id: str | None = None
    #: The generation whose copy, as every older one, still has to tell the outcome; newer ones need not.
    filed_in: int | None = None
    told: Told | None = None

    @property
    def outcome(self) -> Outcome | None:
        """The outcome, once there is one."""
        return None if self.state in (WAITING, ATTEMPTING) else Outcome(self.state)


WAITING = "waiting"
ATTEMPTING = "attempting"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRecord:
    """What the ledger holds of one command."""

    id: str
    content_hash: bytes
    created_at: float
    updated_at: float
    #: The generation that is current; 0 until the first hand-over to the delay.
    generation: int = 0
    #: Those that the change at hand looks at.
    submissions: dict[int, SubmissionRecord] = field(default_factory=dict)


class Change(Protocol):
    """One change of one command's record."""

    @property
    def command_id(self) -> str:
        """Whose record it changes."""
        ...

    @property
    def index(self) -> int | None:
        """Which of its submissions it looks at; None for none."""
        ...

    def apply(self, record: CommandRecord | None) -> tuple[CommandRecord | None, object]:
        """Return the record as it shall be (the same object where nothing changes) and what to tell the caller."""
        ...


# --- Claim -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The submission is claimed: call the provider. What is known of it so far comes along."""

    attempts: int
    first_attempt_at: float
    #: The generation this delivery carries from now on: a new one where it took the place of a copy that never came.
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """There is an outcome: tell it (again)."""

    outcome: Outcome
    told: Told
    #: Whether it was filed just now, by this claim.
    fresh: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """Not now: look again at `at`. `own` says that this delivery is the one the submission waits for."""

    at: float
    own: bool


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another command has this id, with other content."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """There is an outcome, and it was told before this copy was made: nothing is left to do."""


Verdict: TypeAlias = Call | Tell | Later | Conflict | Superseded


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Claim one submission for a call, or learn why there is none to be made."""

    command: SendSms
    index: int
    owner: str
    #: Seconds a claim lives.
    lease: float
    now: float
    style: Style
    #: The generation the delivery carries; 0 for one that carries none.
    generation: int = 0
    traceparent: str | None = None

    @property
    def command_id(self) -> str:
        """Whose record it changes."""
        assert self.command.id is not None  # noqa: S101 - commands without an id never reach the ledger
        return self.command.id

    def apply(self, record: CommandRecord | None) -> tuple[CommandRecord, Verdict]:
        """Decide; see the table at the head of the module."""
        if record is None:
            record = CommandRecord(
                id=self.command_id,
                content_hash=self.command.content_hash,
                created_at=self.now,
                updated_at=self.now,
                generation=self.generation,
            )
        elif record.content_hash != self.command.content_hash:
            return record, Conflict()
        submission = record.submissions.get(self.index)
        if submission is None:
            return self._begin(record)
        if submission.told is not None and submission.outcome is not None:
            return record, self._tell_again(submission, submission.outcome, submission.told)
        if submission.state == ATTEMPTING:
            return self._meet_claim(record, submission)
        return self._resume(record, submission)

    def _begin(self, record: CommandRecord) -> tuple[CommandRecord, Verdict]:
        fresh = SubmissionRecord(index=self.index, state=WAITING)
        if self.generation:
            # Every copy from the delay had a row when it was made: the ledger forgot it.
            return self._unknown(record, fresh, "the ledger has no record of this delayed command")
        send_at = self.command.send_at
        if send_at is not None and send_at > self.now:
            waiting = replace(fresh, retry_at=send_at)
            return self._put(record, waiting), Later(at=send_at, own=True)
        return self._claim(record, fresh)

    def _tell_again(self, submission: SubmissionRecord, outcome: Outcome, told: Told) -> Verdict:
        """Tell what this delivery has not told yet: see `Carry` for what was filed before its copy was made."""
        if submission.filed_in is not None and submission.filed_in < self.generation:
            return Superseded()
        return Tell(outcome=outcome, told=told)

    def _meet_claim(
        self, record: CommandRecord, submission: SubmissionRecord
    ) -> tuple[CommandRecord, Verdict]:
        lease_until = submission.lease_until or 0.0
        if self.now < lease_until:
            return record, Later(at=min(lease_until, self.now + LOOK_AGAIN), own=False)
        return self._unknown(record, submission, "a worker ended between the call and its answer")

    def _resume(self, record: CommandRecord, submission: SubmissionRecord) -> tuple[CommandRecord, Verdict]:
        retry_at = submission.retry_at or 0.0
        current = self.generation == record.generation
        due = retry_at if current else retry_at + OVERDUE
        if self.now < due:
            return record, Later(at=due, own=current)
        if not current:
            # The copy it waits for never came. This delivery takes its place, and the copy is superseded if it does.
            record = replace(record, generation=record.generation + 1)
        return self._claim(record, submission)

    def _claim(self, record: CommandRecord, submission: SubmissionRecord) -> tuple[CommandRecord, Verdict]:
        expires_at = self.command.expires_at
        if expires_at is not None and self.now >= expires_at:
            error = ProviderError(name="expired", message="expires_at passed before it could be submitted")
            return self._file(record, submission, Outcome.EXPIRED, error)
        first_attempt_at = submission.first_attempt_at or self.now
        claimed = replace(
            submission,
            state=ATTEMPTING,
            owner=self.owner,
            lease_until=self.now + self.lease,
            first_attempt_at=first_attempt_at,
            retry_at=None,
        )
        call = Call(
            attempts=submission.attempts, first_attempt_at=first_attempt_at, generation=record.generation
        )
        return self._put(record, claimed), call

    def _unknown(
        self, record: CommandRecord, submission: SubmissionRecord, why: str
    ) -> tuple[CommandRecord, Verdict]:
        error = ProviderError(name="ambiguous", message=why)
        return self._file(record, submission, Outcome.UNKNOWN, error)

    def _file(
        self, record: CommandRecord, submission: SubmissionRecord, outcome: Outcome, error: ProviderError
    ) -> tuple[CommandRecord, Verdict]:
        result = Result(attempts=submission.attempts, error=error)
        event = outcome_event(
            outcome,
            self.command,
            self.index,
            result,
            style=self.style,
            now=self.now,
            traceparent=self.traceparent,
        )
        filed = file_outcome(submission, outcome, event, result, generation=record.generation)
        assert filed.told is not None  # noqa: S101 - file_outcome sets it
        return self._put(record, filed), Tell(outcome=outcome, told=filed.told, fresh=True)

    def _put(self, record: CommandRecord, submission: SubmissionRecord) -> CommandRecord:
        return put(record, submission, now=self.now)


# --- File ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Filing:
    """What an answer makes of a claimed submission: an outcome with its event, or another look at `retry_at`."""

    outcome: Outcome | None
    event: Event | None
    result: Result
    retry_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """File what became of a claimed submission. Gives back whether the owner still had it."""

    command_id: str
    index: int
    owner: str
    filing: Filing
    now: float

    def apply(self, record: CommandRecord | None) -> tuple[CommandRecord | None, bool]:
        """File it, unless the claim was lost."""
        submission = None if record is None else record.submissions.get(self.index)
        if (
            record is None
            or submission is None
            or submission.state != ATTEMPTING
            or submission.owner != self.owner
        ):
            return record, False
        filing = self.filing
        if filing.outcome is not None and filing.event is not None:
            # Not the owner's generation: a copy handed over since must tell it too, should the owner end here.
            filed = file_outcome(
                submission, filing.outcome, filing.event, filing.result, generation=record.generation
            )
        else:
            filed = replace(
                submission,
                state=WAITING,
                owner=None,
                lease_until=None,
                attempts=filing.result.attempts,
                first_attempt_at=submission.first_attempt_at if filing.result.attempts else None,
                retry_at=filing.retry_at,
            )
        return put(record, filed, now=self.now), True


# --- HandOver --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOver:
    """Begin a new generation: the copy about to go to the delay stands for the command from now on.

    Gives back the new generation, or None where this delivery no longer speaks for the command.
    """

    command_id: str
    generation: int
    now: float
    index: None = None

    def apply(self, record: CommandRecord | None) -> tuple[CommandRecord | None, int | None]:
        """Begin it, unless another delivery has."""
        if record is None or record.generation != self.generation:
            return record, None
        generation = record.generation + 1
        return replace(record, generation=generation, updated_at=self.now), generation


@dataclass(frozen=True, slots=True, kw_only=True)
class Carry:
    """Let the copy just handed over look at a submission that its maker has not told, whatever became of it since.

    Applied in one step with `HandOver`, after it. Without it an outcome that somebody else filed between the maker's
    claim and the hand-over would count as told by the maker.
    """

    command_id: str
    index: int

    def apply(self, record: CommandRecord | None) -> tuple[CommandRecord | None, None]:
        """Raise the generation that still has to tell it; nothing where there is no outcome yet."""
        submission = None if record is None else record.submissions.get(self.index)
        if record is None or submission is None or submission.filed_in is None:
            return record, None
        carried = replace(submission, filed_in=max(submission.filed_in, record.generation))
        return put(record, carried, now=record.updated_at), None


def put(record: CommandRecord, submission: SubmissionRecord, *, now: float) -> CommandRecord:
    """Return `record` with `submission` in it."""
    submissions = {**record.submissions, submission.index: submission}
    return replace(record, submissions=submissions, updated_at=now)


def file_outcome(
    submission: SubmissionRecord, outcome: Outcome, event: Event, result: Result, *, generation: int
) -> SubmissionRecord:
    """Return `submission` ended, with the event that tells it; no claim is left."""
    return replace(
        submission,
        state=outcome.value,
        owner=None,
        lease_until=None,
        retry_at=None,
        attempts=result.attempts,
        message_id=result.message_id,
        filed_in=generation,
        told=Told(event_id=event.id, body=event.body),
    )
