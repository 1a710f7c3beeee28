"""What is remembered of a command and of each of its submissions. Times are seconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from bridge.domain.outcomes import Outcome, SubmissionResult

if TYPE_CHECKING:
    from bridge.domain.answers import ProviderError

#: The states of a submission that has no outcome yet; an outcome is its own state.
WAITING = "waiting"
ATTEMPTING = "attempting"
IN_DOUBT = "in_doubt"
OPEN = frozenset({WAITING, ATTEMPTING, IN_DOUBT})
#: Those in which a submission may have been sent while its message's id is not known.
_NAMELESS = frozenset({IN_DOUBT, Outcome.SENT.value, Outcome.UNKNOWN.value})


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An outcome's event as it was filed: republished byte for byte."""

    event_id: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A dead letter sent back: reopens the submission whose outcome still is the one named."""

    event_id: str
    #: Whether to send anew what nobody could tell, once reconciling has found nothing.
    resend: bool = False


Record = TypeVar("Record", bound="SubmissionRecord | CommandRecord")


def changed(record: Record, **changes: Any) -> Record:
    """Return a copy of `record` with `changes`: as `dataclasses.replace`, in a tenth of its time.

    Each submission is changed several times on its way, and to check and set two dozen fields one by one took longer
    than to decide. It needs records that keep their fields in a dictionary, so without slots.
    """
    kept = record.__dict__
    if not changes.keys() <= kept.keys():
        raise TypeError(f"no such fields: {sorted(changes.keys() - kept.keys())}")
    copy: Record = object.__new__(type(record))
    copy.__dict__.update(kept, **changes)
    return copy


@dataclass(frozen=True, kw_only=True)
class SubmissionRecord:
    """What the ledger holds of one submission."""

    index: int
    #: `WAITING`, `ATTEMPTING`, `IN_DOUBT` or the value of an `Outcome`.
    state: str
    #: What makes it findable in the provider's history: `bridge.domain.reconciliation.match_key`.
    match_key: bytes | None = None
    #: Who holds the claim, since when and until when.
    owner: str | None = None
    claimed_at: float | None = None
    lease_until: float | None = None
    attempts: int = 0
    first_attempt_at: float | None = None
    retry_at: float | None = None
    #: Of how many rate limits it has a slot, `retry_at` being that of the last.
    reserved: int = 0
    #: Whether it was there for that slot and could not go, `retry_at` being its turn.
    queued: bool = False
    #: When the first attempt began whose effect is not known, and when the last one ended.
    doubt_from: float | None = None
    doubt_until: float | None = None
    #: When the history was last read in which it recognised none of the messages that belong to no submission.
    looked_at: float | None = None
    #: Whether the provider said that it has the submission, but not under which id.
    submitted: bool = False
    #: Whether it waits for, or makes, another attempt although nobody could tell what became of an earlier one.
    earlier_in_doubt: bool = False
    #: Claims that a crash ended.
    crashes: int = 0
    #: Which life of the submission this is: each replay of its dead letter begins a new one.
    replay: int = 0
    #: Whether that replay may send anew what nobody could tell.
    may_resend: bool = True
    #: The provider's id of the message, once known.
    message_id: str | None = None
    #: The version whose copy, as every older one, still has to tell the outcome; newer ones need not.
    recorded_in: int | None = None
    stored_event: StoredEvent | None = None

    @property
    def outcome(self) -> Outcome | None:
        """The outcome, once there is one."""
        return None if self.state in OPEN else Outcome(self.state)

    @property
    def was_taken(self) -> bool:
        """Whether the provider said that it has it, be it under an id or without one."""
        return self.submitted or self.message_id is not None

    @property
    def may_have_a_message(self) -> bool:
        """Whether a message that no submission owns may be its own: a call is under way, or what came of one is open.

        The ledger's tables say the same in SQL: `bridge.adapters.store.tables.MAY_HAVE_A_MESSAGE`.
        """
        return self.state == ATTEMPTING or (self.message_id is None and self.state in _NAMELESS)

    @property
    def is_suspected(self) -> bool:
        """Whether no attempt is known: only a repeat of its id may have been sent, by what a restored ledger has lost.

        Its doubt ends before its first claim: see `bridge.domain.ledger.lost_rows.lost`.
        """
        return (
            self.state == IN_DOUBT
            and not self.attempts
            and not self.replay
            and (self.doubt_until or 0.0) < (self.first_attempt_at or 0.0)
        )

    @property
    def resend_asked(self) -> bool:
        """Whether somebody who knew that it is in doubt has it sent anew; once, whatever becomes of that attempt."""
        return bool(self.replay) and not self.attempts and self.state == IN_DOUBT and self.may_resend

    def leased(self, state: str, *, owner: str, now: float, until: float) -> SubmissionRecord:
        """Return it claimed, for a call or a look; a call uses up its slots of the rate limits."""
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
        """Return it after a claim that its worker did not end: a call that was under way is in doubt."""
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
        """Return a new life of it once its dead letter was sent back; None where it must never be sent again."""
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
        """Return what is known of it, as an event says it."""
        return SubmissionResult(
            attempts=self.attempts, replay=self.replay, message_id=self.message_id, error=error
        )


@dataclass(frozen=True, kw_only=True)
class CommandRecord:
    """What the ledger holds of one command."""

    id: str
    content_hash: bytes
    created_at: float
    updated_at: float
    #: The version that is current; 0 until the first hand-over to the delay.
    version: int = 0
    #: Those that the changes at hand look at.
    submissions: dict[int, SubmissionRecord] = field(default_factory=dict)

    def having(self, submission: SubmissionRecord, *, now: float) -> CommandRecord:
        """Return the record with `submission` in it."""
        submissions = {**self.submissions, submission.index: submission}
        return changed(self, submissions=submissions, updated_at=now)
