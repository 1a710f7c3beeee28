"""What one transaction has in its hands: the store fills it, the changes read and write it, the store saves it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from bridge.domain.match_keys import destination_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bridge.domain.evidence import Evidence
    from bridge.domain.ledger.lost_rows import Restored
    from bridge.domain.ledger.records import CommandRecord, SubmissionRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSet:
    """What a change has to find on its unit."""

    #: A command's record; None where it is about no command.
    command_id: str | None = None
    #: Which of its submissions; None for none.
    index: int | None = None
    #: The messages seen with this key.
    match_key: bytes | None = None
    #: All submissions to the destination of this key that may have a message whose id is not known, and what was seen
    #: of messages to it since `since`, in seconds since the epoch.
    judges: bytes | None = None
    since: float = 0.0
    #: To which address it may say whose a message is, without looking at what else may have it: whoever judges messages
    #: to that destination has to wait.
    locked_destination: str | None = None
    #: Who owns these messages of the provider's.
    message_ids: tuple[str, ...] = ()
    #: The rate limits it looks at.
    buckets: tuple[str, ...] = ()
    #: Those of them that it may change: whoever else may has to wait.
    locked_buckets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionId:
    """A submission's place: whose it is and which."""

    command_id: str
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """That a receipt is awaited. Times are in seconds since the epoch."""

    sent_at: float
    #: When to ask for it.
    ask_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A rate limit's times, in seconds since the epoch: see `bridge.domain.ledger.limits`."""

    #: The next slot: when whoever comes now for the first time is to come again.
    next_free: float = 0.0
    #: The next turn, of those that have come for their slot and could not go.
    next_queued: float = 0.0
    #: When the next may go, as far as those that have gone are concerned.
    open_at: float = 0.0


UNUSED = Bucket()


@dataclass(slots=True, kw_only=True)
class UnitOfWork:
    """Filled by a store, for the needs of a batch of changes."""

    commands: dict[str, CommandRecord] = field(default_factory=dict)
    #: Submissions that may have a message whose id is not known, by their destination (`destination_of` their keys), as
    #: they were before the batch.
    nameless: Mapping[bytes, Mapping[SubmissionId, SubmissionRecord]] = field(default_factory=dict)
    owners: dict[str, SubmissionId] = field(default_factory=dict)
    observed_messages: Mapping[bytes, Sequence[Evidence]] = field(default_factory=dict)
    #: The rate limits, by name.
    buckets: dict[str, Bucket] = field(default_factory=dict)
    #: What the batch has seen of messages, by key.
    seen: list[tuple[bytes, Evidence]] = field(default_factory=list)
    #: That the ledger is an earlier state of itself; None where it is not known to be one.
    restored: Restored | None = None
    #: Receipts that are awaited from this batch on.
    expected: dict[SubmissionId, Expected] = field(default_factory=dict)

    def bucket(self, name: str) -> Bucket:
        """Return a rate limit, one that nobody has used yet where there is none of that name."""
        return self.buckets.get(name, UNUSED)

    def others_of(self, key: bytes, submission_id: SubmissionId) -> Iterable[SubmissionRecord]:
        """Return the other submissions to the destination of a key that may have a message whose id is not known.

        They are as the batch has left them so far.
        """
        destination = destination_of(key)
        found = dict(self.nameless.get(destination, {}))
        for record in self.commands.values():
            for submission in record.submissions.values():
                where = SubmissionId(command_id=record.id, index=submission.index)
                found.pop(where, None)
                own = submission.match_key
                if own is not None and destination_of(own) == destination and submission.may_have_a_message:
                    found[where] = submission
        found.pop(submission_id, None)
        return found.values()

    def owner_of(self, message_id: str) -> SubmissionId | None:
        """Return whose a message of the provider's is."""
        for record in self.commands.values():
            for submission in record.submissions.values():
                if submission.message_id == message_id:
                    return SubmissionId(command_id=record.id, index=submission.index)
        return self.owners.get(message_id)

    def evidence(self, key: bytes) -> Sequence[Evidence]:
        """Return what was seen of messages with a key, other than in the provider's history."""
        return [
            *self.observed_messages.get(key, ()),
            *(evidence for known, evidence in self.seen if known == key),
        ]

    def evidence_of_destination(self, key: bytes) -> Sequence[Evidence]:
        """Return what was seen of messages to the destination of a key, other than in the provider's history."""
        destination = destination_of(key)
        keys = {*self.observed_messages, *(known for known, _ in self.seen)}
        return [one for known in keys if destination_of(known) == destination for one in self.evidence(known)]


class Change(Protocol):
    """One change."""

    @property
    def read_set(self) -> ReadSet:
        """What has to be on the unit."""
        ...

    def apply(self, unit: UnitOfWork) -> object:
        """Change the unit and return what to tell the caller."""
        ...
