"""The ledger in memory, for tests. Nothing survives the process."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

from bridge.adapters.store import unit_of_work
from bridge.domain.ledger import SubmissionId, UnitOfWork
from bridge.domain.match_keys import destination_of
from bridge.domain.outcomes import Outcome
from bridge.domain.receipts import PendingReceipt, SentSubmission, receipt_ids

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from bridge.domain.evidence import Evidence
    from bridge.domain.ledger import (
        Bucket,
        Change,
        CommandRecord,
        Expected,
        ReadSet,
        Restored,
        SubmissionRecord,
    )


class MemoryLedger:
    """Fills the port `Ledger`."""

    def __init__(self) -> None:
        self._records: dict[str, CommandRecord] = {}
        self._observed_messages: dict[bytes, list[Evidence]] = defaultdict(list)
        self._buckets: dict[str, Bucket] = {}
        self._lock = Lock()
        #: Pending receipts.
        self.expected: dict[SubmissionId, Expected] = {}
        self.restored: Restored | None = None

    def apply(self, changes: Sequence[Change]) -> list[object]:
        """Apply the changes atomically; see `bridge.ports.Ledger`."""
        with self._lock:
            unit = self._fill([change.read_set for change in changes])
            results = unit_of_work.apply(changes, unit)
            for record in unit.commands.values():
                known = self._records.get(record.id)
                submissions = {**(known.submissions if known else {}), **record.submissions}
                self._records[record.id] = replace(record, submissions=submissions)
            for key, evidence in unit.seen:
                self._observed_messages[key].append(evidence)
            self._buckets.update(unit.buckets)
            self.expected.update(unit.expected)
        return results

    def submission(self, submission_id: SubmissionId) -> SubmissionRecord:
        """Return the record of a submission."""
        return self._records[submission_id.command_id].submissions[submission_id.index]

    def command(self, command_id: str) -> CommandRecord | None:
        """Return a command with all its submissions."""
        with self._lock:
            return self._records.get(command_id)

    def content_hash(self, command_id: str) -> bytes | None:
        """Return the hash of a command's content."""
        record = self.command(command_id)
        return None if record is None else record.content_hash

    def sent(self, message_id: str) -> SentSubmission | None:
        """Return the submission that was sent as this message."""
        for record in list(self._records.values()):
            for submission in record.submissions.values():
                if submission.message_id == message_id and submission.outcome is Outcome.SENT:
                    return _sent(SubmissionId(command_id=record.id, index=submission.index), submission)
        return None

    def time(self) -> float | None:
        """Return None: all users share the machine's clock."""
        return None

    def close(self) -> None:
        """Delete everything."""
        self._records.clear()

    def _fill(self, read_sets: Sequence[ReadSet]) -> UnitOfWork:
        """Return copies of the records, as a database would."""
        ids = {need.command_id for need in read_sets if need.command_id is not None}
        return UnitOfWork(
            commands={
                id_: replace(record, submissions=dict(record.submissions))
                for id_ in ids
                if (record := self._records.get(id_)) is not None
            },
            nameless={
                destination_of(need.judged_key): self._nameless(destination_of(need.judged_key))
                for need in read_sets
                if need.judged_key
            },
            owners={
                submission.message_id: submission_id
                for submission_id, submission in self._submissions(read_sets)
                if submission.message_id is not None
            },
            observed_messages={key: list(found) for key, found in self._observed_messages.items()},
            buckets=dict(self._buckets),
            restored=self.restored,
        )

    def _nameless(self, destination: bytes) -> dict[SubmissionId, SubmissionRecord]:
        return {
            SubmissionId(command_id=record.id, index=submission.index): submission
            for record in self._records.values()
            for submission in record.submissions.values()
            if submission.match_key is not None
            and destination_of(submission.match_key) == destination
            and submission.may_have_a_message
        }

    def _submissions(self, read_sets: Sequence[ReadSet]) -> Iterator[tuple[SubmissionId, SubmissionRecord]]:
        """Yield all submissions if a change needs owners; otherwise none."""
        if not any(need.match_key or need.judged_key for need in read_sets):
            return
        for record in self._records.values():
            for submission in record.submissions.values():
                yield SubmissionId(command_id=record.id, index=submission.index), submission


class MemorySeen:
    """Fills the ports `Seen` and `Watermarks`."""

    def __init__(self, ledger: MemoryLedger | None = None) -> None:
        """`ledger` has the sent submissions; without it none is known."""
        self._ledger = ledger
        self._noted: dict[str, float] = {}
        self._watermarks: dict[str, float] = {}

    def known(self, ids: Collection[str]) -> set[str]:
        """Return the recorded ids; see `bridge.ports.Seen`."""
        return {id_ for id_ in ids if id_ in self._noted}

    def note(self, ids: Collection[str], now: float) -> None:
        """Record ids; see `bridge.ports.Seen`."""
        self._noted = dict.fromkeys(ids, now) | self._noted

    def sent(self, message_id: str) -> SentSubmission | None:
        """Return the submission with this message; see `bridge.ports.Seen`."""
        return None if self._ledger is None else self._ledger.sent(message_id)

    def watermarks(self) -> dict[str, float]:
        """Return all watermarks; see `bridge.ports.Watermarks`."""
        return dict(self._watermarks)

    def advance(self, watermarks: Mapping[str, float]) -> None:
        """Record watermarks; see `bridge.ports.Watermarks`."""
        for number, at in watermarks.items():
            self._watermarks[number] = max(at, self._watermarks.get(number, at))

    def prune(self, before: float) -> int:
        """Delete the ids recorded before `before`; return their number."""
        kept = {id_: at for id_, at in self._noted.items() if at >= before}
        forgotten = len(self._noted) - len(kept)
        self._noted = kept
        return forgotten

    def close(self) -> None:
        """Keep the records: the store may be opened again."""


class MemoryReceipts:
    """Fills the port `Receipts`, for one worker."""

    def __init__(self, ledger: MemoryLedger, seen: MemorySeen) -> None:
        self._ledger = ledger
        self._seen = seen

    def due_at(self) -> float | None:
        """Return the time when the next receipt is due; see `bridge.ports.Receipts`."""
        return min((expected.ask_at for expected in self._ledger.expected.copy().values()), default=None)

    def take(self, now: float, until: float, limit: int) -> Sequence[PendingReceipt]:
        """Take due receipts; see `bridge.ports.Receipts`."""
        expected = self._ledger.expected.copy()
        due = sorted(
            (submission_id for submission_id in expected if expected[submission_id].ask_at <= now),
            key=lambda p: expected[p].ask_at,
        )
        taken = []
        for submission_id in due[:limit]:
            sent = _sent(submission_id, self._ledger.submission(submission_id))
            published = bool(self._seen.known(receipt_ids(sent)))
            taken.append(
                PendingReceipt(sent=sent, sent_at=expected[submission_id].sent_at, published=published)
            )
            self.postpone({submission_id: until})
        return taken

    def postpone(self, asks: Mapping[SubmissionId, float]) -> None:
        """Set later times; see `bridge.ports.Receipts`."""
        for submission_id, at in asks.items():
            if (expected := self._ledger.expected.get(submission_id)) is not None:
                self._ledger.expected[submission_id] = replace(expected, ask_at=at)

    def end(self, submission_ids: Collection[SubmissionId], published: Collection[str], now: float) -> None:
        """Delete pending receipts; see `bridge.ports.Receipts`."""
        for submission_id in submission_ids:
            self._ledger.expected.pop(submission_id, None)
        self._seen.note(published, now)

    def close(self) -> None:
        """Keep the pending receipts: the store may be opened again."""


def _sent(submission_id: SubmissionId, submission: SubmissionRecord) -> SentSubmission:
    assert submission.message_id is not None
    assert submission.stored_event is not None
    return SentSubmission(
        command_id=submission_id.command_id,
        index=submission_id.index,
        replay=submission.replay,
        message_id=submission.message_id,
        event=submission.stored_event.body,
    )
