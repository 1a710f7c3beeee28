"""Records of a command and of its submissions. Times are in seconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from bridge.domain.outcomes import Outcome, SubmissionResult

if TYPE_CHECKING:
    from bridge.domain.answers import ProviderError

#: The states of a submission without an outcome; with one, the state is the outcome's value.
WAITING = "waiting"
ATTEMPTING = "attempting"
IN_DOUBT = "in_doubt"
OPEN = frozenset({WAITING, ATTEMPTING, IN_DOUBT})
#: The states in which a submission may have a message whose id is not known.
_NAMELESS = frozenset({IN_DOUBT, Outcome.SENT.value, Outcome.UNKNOWN.value})


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """The event of an outcome as it was recorded, and is republished byte for byte."""

    event_id: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A replayed dead letter: it reopens a submission whose outcome still is this event."""

    event_id: str
    #: Whether to resend an `unknown` submission if the provider's history does not show it.
    resend: bool = False


Record = TypeVar("Record", bound="SubmissionRecord | CommandRecord")


def changed(record: Record, **changes: Any) -> Record:
    """Return a copy of `record` with `changes`, as `dataclasses.replace` does, in a tenth of its time.

    Each submission is changed several times, and setting two dozen fields one by one took longer than the decisions.
    The records must keep their fields in a dictionary, and so have no slots.

    Raises:
        TypeError: a change names an unknown field.

    """
    kept = record.__dict__
    if not changes.keys() <= kept.keys():
        raise TypeError(f"no such fields: {sorted(changes.keys() - kept.keys())}")
    copy: Record = object.__new__(type(record))
    copy.__dict__.update(kept, **changes)
    return copy


@dataclass(frozen=True, kw_only=True)
class SubmissionRecord:
    """The ledger's record of one submission."""

    index: int
    #: `WAITING`, `ATTEMPTING`, `IN_DOUBT` or the value of an `Outcome`.
    state: str
    #: The key by which the provider's history is searched: `bridge.domain.match_keys.match_key`.
    match_key: bytes | None = None
    #: The claim: its unique owner, its start, and the end of its lease.
    owner: str | None = None
    claimed_at: float | None = None
    lease_until: float | None = None
    attempts: int = 0
    first_attempt_at: float | None = None
    retry_at: float | None = None
    #: The number of rate limits of which it has a reservation; `retry_at` belongs to the last of them.
    reserved: int = 0
    #: Whether `retry_at` is a place in the second queue of that limit.
    queued: bool = False
    #: The start of the first attempt in doubt, and the end of the last one.
    doubt_from: float | None = None
    doubt_until: float | None = None
    #: The time of the last history lookup that found no unclaimed message that may belong to the submission.
    looked_at: float | None = None
    #: Whether the provider has confirmed that it has the submission, without a message id.
    submitted: bool = False
    #: Whether it waits for, or makes, another attempt while an earlier attempt remains in doubt.
    earlier_in_doubt: bool = False
    #: Claims that ended with a crash.
    crashes: int = 0
    #: The number of replays of its dead letters.
    replay: int = 0
    #: Whether the current replay may resend it while an attempt is in doubt.
    may_resend: bool = True
    #: The provider's id of the message, once known.
    message_id: str | None = None
    #: The highest version whose copy still has to publish the outcome.
    recorded_in: int | None = None
    stored_event: StoredEvent | None = None

    @property
    def outcome(self) -> Outcome | None:
        """The outcome, once there is one."""
        return None if self.state in OPEN else Outcome(self.state)

    @property
    def was_taken(self) -> bool:
        """Whether the provider has confirmed that it has the submission, with or without a message id."""
        return self.submitted or self.message_id is not None

    @property
    def may_have_a_message(self) -> bool:
        """Whether an unclaimed message may belong to it: a call is in flight, or one has an unknown result.

        `bridge.adapters.store.tables.MAY_HAVE_A_MESSAGE` is the same condition in SQL.
        """
        return self.state == ATTEMPTING or (self.message_id is None and self.state in _NAMELESS)

    @property
    def is_suspected(self) -> bool:
        """Whether an attempt is only suspected: a repeat of the id may have been sent before the ledger was restored.

        The doubt then ends before the first claim: see `bridge.domain.ledger.lost_rows.lost`.
        """
        return (
            self.state == IN_DOUBT
            and not self.attempts
            and not self.replay
            and (self.doubt_until or 0.0) < (self.first_attempt_at or 0.0)
        )

    @property
    def resend_asked(self) -> bool:
        """Whether an operator has asked to resend it although it is in doubt. This holds until the next attempt."""
        return bool(self.replay) and not self.attempts and self.state == IN_DOUBT and self.may_resend

    def leased(self, state: str, *, owner: str, now: float, until: float) -> SubmissionRecord:
        """Return it claimed, for a call or a lookup; a call uses up its reservations of rate limits."""
        is_call = state == ATTEMPTING
        return changed(
            self,
            state=state,
            owner=owner,
            claimed_at=now,
            lease_until=until,
            first_attempt_at=self.first_attempt_at or now,
            retry_at=None,
            reserved=0 if is_call else self.reserved,
            queued=False if is_call else self.queued,
        )

    def released(self, state: str, *, retry_at: float | None, **changes: Any) -> SubmissionRecord:
        """Return it without a claim, in `state`, with `changes` to other fields."""
        return changed(self, state=state, owner=None, lease_until=None, retry_at=retry_at, **changes)

    def crashed(self) -> SubmissionRecord:
        """Return it after the crash of its owner: a call that was in flight is in doubt."""
        crashed = changed(self, crashes=self.crashes + 1)
        if self.state != ATTEMPTING:
            return crashed
        return changed(
            crashed,
            state=IN_DOUBT,
            attempts=self.attempts + 1,
            doubt_from=self.doubt_from or self.claimed_at or self.lease_until,
            doubt_until=self.lease_until,
        )

    def reopened(self, replay: Replay, *, now: float) -> SubmissionRecord | None:
        """Return it reopened by the replay of its dead letter; None if its outcome must not be sent again."""
        fresh = SubmissionRecord(
            index=self.index,
            state=WAITING,
            match_key=self.match_key,
            replay=self.replay + 1,
            message_id=self.message_id,
        )
        match self.outcome:
            case Outcome.FAILED | Outcome.REJECTED | Outcome.EXPIRED:
                return fresh
            case Outcome.UNKNOWN:
                since = self.doubt_from or self.claimed_at or self.first_attempt_at or now
                until = self.doubt_until or now
                return changed(
                    fresh, state=IN_DOUBT, doubt_from=since, doubt_until=until, may_resend=replay.resend
                )
            case _:
                return None

    def result(self, error: ProviderError | None = None) -> SubmissionResult:
        """Return its data for an event."""
        return SubmissionResult(
            attempts=self.attempts, replay=self.replay, message_id=self.message_id, error=error
        )


@dataclass(frozen=True, kw_only=True)
class CommandRecord:
    """The ledger's record of one command."""

    id: str
    content_hash: bytes
    created_at: float
    updated_at: float
    #: The current version; 0 until the command is rescheduled for the first time.
    version: int = 0
    #: The submissions in the unit of work, by index; others are in the database alone.
    submissions: dict[int, SubmissionRecord] = field(default_factory=dict)

    def having(self, submission: SubmissionRecord, *, now: float) -> CommandRecord:
        """Return the record with `submission` in it."""
        submissions = {**self.submissions, submission.index: submission}
        return changed(self, submissions=submissions, updated_at=now)
