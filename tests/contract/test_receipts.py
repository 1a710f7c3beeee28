"""The contract of pending receipts: each is due at its time, for one worker, until it is published."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from bridge.adapters.store import open_ledger, open_receipts, open_seen
from bridge.domain.command_parser import parse_command
from bridge.domain.commands import CommandRules, SendSms
from bridge.domain.events import event_id
from bridge.domain.ledger import Claim, NextStep, RecordAnswer, SubmissionId
from bridge.domain.outcomes import EventFormat, Outcome, SubmissionResult
from bridge.domain.receipts import SentSubmission
from bridge.domain.rules import LedgerRules, ReceiptRules
from tests.fakes.ledger import MemoryLedger, MemoryReceipts, MemorySeen
from tests.harness.contract_check import event_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bridge.domain.receipts import PendingReceipt
    from bridge.ports import Ledger, Receipts, Seen

NOW = 1_800_000_000.0
STYLE = EventFormat(source="/sms-bridge/sms")
RULES = ReceiptRules(first=30.0)
DELIVERED = "sms.outbound.delivered"


@dataclass
class Stores:
    """A ledger, its pending receipts, and its seen notifications."""

    ledger: Ledger
    receipts: Receipts
    seen: Seen
    #: Opens the pending receipts once more: for another worker.
    another: Callable[[], Receipts]

    def send(
        self, command_id: str, *, at: float = NOW, outcome: Outcome = Outcome.SENT, index: int = 0
    ) -> None:
        document = {
            "id": command_id,
            "destination_address": ["+16131234567", "+16131234568"],
            "message": "hi",
        }
        parsed = parse_command(json.dumps(document).encode(), None, rules=CommandRules(), now=at)
        assert isinstance(parsed, SendSms)
        message_id = f"m-{command_id}-{index}"
        claim = Claim(command=parsed, index=index, owner="w", now=at, style=STYLE, rules=LedgerRules())
        record = RecordAnswer(
            command=parsed,
            command_id=command_id,
            index=index,
            owner="w",
            next_step=NextStep(
                outcome=outcome, result=SubmissionResult(message_id=message_id, sender_address="+1613")
            ),
            now=at,
            style=STYLE,
            receipts=RULES,
        )
        self.ledger.apply([claim, record])


def in_memory(_: pytest.FixtureRequest) -> Stores:
    ledger = MemoryLedger()
    seen = MemorySeen(ledger)
    return Stores(ledger, MemoryReceipts(ledger, seen), seen, lambda: MemoryReceipts(ledger, seen))


def on(url: str) -> Stores:
    return Stores(open_ledger(url), open_receipts(url), open_seen(url), lambda: open_receipts(url))


def on_sqlite(request: pytest.FixtureRequest) -> Stores:
    return on(f"sqlite:///{request.getfixturevalue('tmp_path') / 'ledger.db'}")


def on_postgresql(request: pytest.FixtureRequest) -> Stores:
    return on(request.getfixturevalue("postgresql_url"))


@pytest.fixture(params=[in_memory, on_sqlite, on_postgresql], ids=["memory", "sqlite", "postgresql"])
def kept(request: pytest.FixtureRequest) -> Iterator[Stores]:
    made: Stores = request.param(request)
    with closing(made.ledger), closing(made.receipts), closing(made.seen):
        yield made


def ids(taken: Iterable[PendingReceipt]) -> list[str]:
    return sorted(pending.sent.command_id for pending in taken)


def test_receipt_is_pending_only_for_a_sent_submission(kept: Stores) -> None:
    before = kept.receipts.due_at()
    kept.send("c1", at=NOW + 5)
    kept.send("c2", at=NOW)
    kept.send("c3", at=NOW - 5, outcome=Outcome.UNDELIVERABLE)

    assert (before, kept.receipts.due_at()) == (None, NOW + 30)


def test_due_receipt_is_taken_with_the_data_of_its_event(kept: Stores) -> None:
    kept.send("c1")
    kept.send("c1", index=1, at=NOW + 1)
    early = kept.receipts.take(NOW + 29, NOW + 60, 10)
    (pending,) = kept.receipts.take(NOW + 30, NOW + 60, 10)

    assert list(early) == []
    assert (pending.sent_at, pending.published) == (NOW, False)
    assert (pending.sent.command_id, pending.sent.index, pending.sent.replay) == ("c1", 0, 0)
    assert pending.sent.message_id == "m-c1-0"
    assert event_of(pending.sent.event)["data"]["destination_address"] == "+16131234567"


def test_taken_receipt_is_not_taken_again_until_its_time(kept: Stores) -> None:
    kept.send("c1")
    with closing(kept.another()) as other:
        first = kept.receipts.take(NOW + 30, NOW + 90, 10)
        second = other.take(NOW + 89, NOW + 150, 10)
        third = other.take(NOW + 90, NOW + 150, 10)

    assert [ids(first), ids(second), ids(third)] == [["c1"], [], ["c1"]]


def test_oldest_due_receipts_are_taken_first_up_to_the_limit(kept: Stores) -> None:
    for number in range(5):
        kept.send(f"c{number}", at=NOW - number)
    taken = [ids(kept.receipts.take(NOW + 30, NOW + 90, 2)) for _ in range(3)]

    assert taken == [["c3", "c4"], ["c1", "c2"], ["c0"]]


def test_postponed_receipt_is_due_at_its_new_time(kept: Stores) -> None:
    kept.send("c1")
    kept.receipts.postpone(
        {SubmissionId(command_id="c1", index=0): NOW + 500, SubmissionId(command_id="gone", index=0): NOW}
    )
    kept.receipts.postpone({})

    assert kept.receipts.due_at() == NOW + 500


def test_ended_receipt_is_no_longer_pending_and_its_event_is_seen(kept: Stores) -> None:
    kept.send("c1")
    kept.send("c2", at=NOW + 7)
    event = event_id(DELIVERED, "c1", 0, 0)
    for _ in range(2):
        kept.receipts.end([SubmissionId(command_id="c1", index=0)], [event], NOW)
    kept.receipts.end([], [], NOW)

    assert kept.receipts.due_at() == NOW + 37
    assert kept.seen.known([event]) == {event}


def test_receipt_that_a_notification_published_is_taken_as_published(kept: Stores) -> None:
    kept.send("c1")
    kept.send("c2")
    kept.seen.note([event_id(DELIVERED, "c1", 0, 0)], NOW)
    taken = kept.receipts.take(NOW + 30, NOW + 90, 10)

    assert {pending.sent.command_id: pending.published for pending in taken} == {"c1": True, "c2": False}


def test_submission_of_a_message_is_found_once_it_was_sent(kept: Stores) -> None:
    kept.send("c1", index=1)
    kept.send("c2", outcome=Outcome.UNDELIVERABLE)
    sent = kept.seen.sent("m-c1-1")

    assert isinstance(sent, SentSubmission)
    assert (sent.command_id, sent.index, sent.message_id) == ("c1", 1, "m-c1-1")
    assert (kept.seen.sent("m-c2-0"), kept.seen.sent("unknown")) == (None, None)


def test_receipts_taken_by_several_workers_at_once_are_taken_once_each(ledger_url: str) -> None:
    kept = on(ledger_url)
    for number in range(60):
        kept.send(f"c{number}")
    taken: list[PendingReceipt] = []
    barrier = threading.Barrier(4)

    def work(receipts: Receipts) -> None:
        barrier.wait(20)
        while some := receipts.take(NOW + 30, NOW + 90, 7):
            taken.extend(some)

    with ExitStack() as opened:
        for one in (kept.ledger, kept.receipts, kept.seen):
            opened.enter_context(closing(one))
        workers = [
            threading.Thread(target=work, args=(opened.enter_context(closing(kept.another())),))
            for _ in range(4)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)

    assert ids(taken) == sorted(f"c{number}" for number in range(60))


def test_receipts_and_their_events_are_pruned_with_their_commands(
    ledger_url: str,
) -> None:
    kept = on(ledger_url)
    kept.send("old", at=NOW - 1000)
    kept.send("new")
    kept.receipts.end([], ["published long ago"], NOW - 1000)
    with (
        closing(open_ledger(ledger_url)) as ledger,
        closing(kept.ledger),
        closing(kept.seen),
        closing(kept.receipts),
    ):
        forgotten = ledger.prune(NOW - 500)

        assert forgotten == 1
        assert kept.receipts.due_at() == NOW + 30
        assert ids(kept.receipts.take(NOW + 9999, NOW + 99999, 10)) == ["new"]
        assert kept.seen.known(["published long ago"]) == set()
