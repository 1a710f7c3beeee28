"""Unit of work: the rows that one ledger transaction reads and changes.

The store fills it from the read sets of a batch of changes, the changes read and write it, and the store saves it.
"""

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
    """The rows that a change reads, and the locks that it takes."""

    #: The command whose record is read; None for a change that concerns no command.
    command_id: str | None = None
    #: The submission of that command; None for the command's own row alone.
    index: int | None = None
    #: The key whose observed messages are read; its destination is locked.
    match_key: bytes | None = None
    #: A match key whose destination is locked. All submissions to it are read whose message id may be unknown, and the
    #: messages to it that were observed since `since`, in seconds since the epoch.
    judged_key: bytes | None = None
    since: float = 0.0
    #: The address, locked, to which the change may assign a message without reading the other candidates. A change with
    #: a `judged_key` of this destination has to wait.
    locked_destination: str | None = None
    #: The provider's messages whose owners are read.
    message_ids: tuple[str, ...] = ()
    #: The rate limits that are read.
    buckets: tuple[str, ...] = ()
    #: Those of them that the change may write: locked.
    locked_buckets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionId:
    """The key of a submission: its command and its index."""

    command_id: str
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A pending receipt. Times are in seconds since the epoch."""

    sent_at: float
    #: When the provider is polled for it.
    ask_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """The three times of a rate limit, in seconds since the epoch: see `bridge.domain.ledger.limits`."""

    #: First queue: the send time that the next new submission reserves.
    next_free: float = 0.0
    #: Second queue: the next place, for submissions that came at their send time and had to wait again.
    next_queued: float = 0.0
    #: When the next submission may be sent, given those that were sent.
    open_at: float = 0.0


UNUSED = Bucket()


@dataclass(slots=True, kw_only=True)
class UnitOfWork:
    """The rows of one transaction, filled by a store for the read sets of a batch of changes."""

    commands: dict[str, CommandRecord] = field(default_factory=dict)
    #: Submissions whose message id may be unknown, by destination (`destination_of` their keys), as they were before
    #: the batch.
    nameless: Mapping[bytes, Mapping[SubmissionId, SubmissionRecord]] = field(default_factory=dict)
    #: The submissions that own messages, by message id, as they were before the batch.
    owners: dict[str, SubmissionId] = field(default_factory=dict)
    #: The messages observed before the batch, by match key.
    observed_messages: Mapping[bytes, Sequence[Evidence]] = field(default_factory=dict)
    #: The rate limits, by name.
    buckets: dict[str, Bucket] = field(default_factory=dict)
    #: The messages that the batch has observed, each with its match key.
    seen: list[tuple[bytes, Evidence]] = field(default_factory=list)
    #: Set if the ledger is known to have lost its last commits.
    restored: Restored | None = None
    #: Receipts that are pending from this batch on.
    expected: dict[SubmissionId, Expected] = field(default_factory=dict)

    def bucket(self, name: str) -> Bucket:
        """Return the rate limit of that name, or an unused one."""
        return self.buckets.get(name, UNUSED)

    def others_of(self, key: bytes, submission_id: SubmissionId) -> Iterable[SubmissionRecord]:
        """Return the other submissions to the destination of a key whose message id may be unknown.

        They include what the batch has changed so far.
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
        """Return the submission that owns a message of the provider; None if none does."""
        for record in self.commands.values():
            for submission in record.submissions.values():
                if submission.message_id == message_id:
                    return SubmissionId(command_id=record.id, index=submission.index)
        return self.owners.get(message_id)

    def evidence(self, key: bytes) -> Sequence[Evidence]:
        """Return the messages with a key that were observed outside the provider's history."""
        return [
            *self.observed_messages.get(key, ()),
            *(evidence for known, evidence in self.seen if known == key),
        ]

    def evidence_of_destination(self, key: bytes) -> Sequence[Evidence]:
        """Return the messages to the destination of a key that were observed outside the provider's history."""
        destination = destination_of(key)
        keys = {*self.observed_messages, *(known for known, _ in self.seen)}
        return [one for known in keys if destination_of(known) == destination for one in self.evidence(known)]


class Change(Protocol):
    """A change of the ledger: a pure function of a unit of work."""

    @property
    def read_set(self) -> ReadSet:
        """The rows that the unit must hold."""
        ...

    def apply(self, unit: UnitOfWork) -> object:
        """Change the unit and return the result for the caller."""
        ...
