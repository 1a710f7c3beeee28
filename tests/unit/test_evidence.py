"""Evidence of outbound notifications, and its way into the ledger."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from bridge.adapters.store.sqlite import open_sqlite
from bridge.domain.evidence import Evidence
from bridge.domain.ledger import ObservedMessage
from bridge.domain.match_keys import match_key, match_key_of, text_key
from bridge.domain.notification_events import evidence_of
from bridge.domain.notifications import parse_notification
from bridge.ingest.evidence_writer import EvidenceWriter
from bridge.ports import ChangeRefused, LedgerUnavailable
from tests.fakes.ledger import MemoryLedger
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bridge.domain.ledger import Change
    from bridge.ops.metrics import Metrics
    from bridge.ports import Ledger

SENT_AT = 1_525_895_987.0
MESSAGE = {
    "dateTime": 1525895987,
    "destinationAddress": "+16131234567",
    "message": "hi",
    "messageId": "olr3j20Cdx87",
    "senderAddress": "+16139998877",
}
EVIDENCE = Evidence(
    message_id="olr3j20Cdx87",
    sender_address="+16139998877",
    destination_address="+16131234567",
    text_key=text_key("hi"),
    sent_at=SENT_AT,
)


def outbound(**fields: object) -> bytes:
    outer = {"outboundSMSMessage": {**MESSAGE, **fields}, "dateTime": 1525895987, "id": "n-1"}
    return json.dumps({"outboundSMSMessageNotification": outer}).encode()


def proved(body: bytes, **options: Any) -> Evidence | None:
    return evidence_of(parse_notification(body), **options)


# --- evidence of a notification --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"dateTime": 1525895987000},
        {"dateTime": 1525895987.0},
        {"message": " hi\r\n"},
        {"destinationAddress": "tel:+1-613-123-4567", "senderAddress": "sip:+16139998877@example.com"},
    ],
)
def test_outbound_notification_proves_a_message_in_any_key_style(fields: dict[str, object]) -> None:
    assert proved(outbound(**fields)) == EVIDENCE


def test_evidence_matches_the_submission_of_its_text_and_number() -> None:
    evidence = proved(outbound(message="caf\u0065\u0301"))

    assert evidence is not None
    assert match_key_of(evidence) == match_key("+16131234567", "caf\u00e9")


def test_national_number_is_completed_by_the_default_region() -> None:
    national = outbound(destinationAddress="6131234567")

    assert proved(national) is None
    assert proved(national, default_region="CA") == EVIDENCE


@pytest.mark.parametrize(
    "fields",
    [
        {"dateTime": None},
        {"dateTime": "yesterday"},
        {"dateTime": True},
        {"dateTime": 10**18},
        {"dateTime": -1},
        {"messageId": None},
        {"messageId": ""},
        {"messageId": "m\u0000"},
        {"messageId": "\ud83d"},
        {"messageId": "m" * 500},
        {"messageId": ["m"]},
        {"message": None},
        {"message": {"text": "hi"}},
        {"senderAddress": None},
        {"senderAddress": "Kandy"},
        {"destinationAddress": "+0"},
        {"destinationAddress": 16131234567},
    ],
)
def test_unreadable_notification_is_an_event_without_evidence(fields: dict[str, object]) -> None:
    notification = parse_notification(outbound(**fields))

    assert notification.event_type == "sms.outbound.synced"
    assert evidence_of(notification) is None


def test_text_longer_than_any_sms_proves_nothing() -> None:
    long, longer = outbound(message="m" * 4_000), outbound(message="a" + "\u0315\u0300" * 16_000)
    began = time.process_time()
    found = [proved(long), proved(longer)]
    took = time.process_time() - began

    assert [evidence is None for evidence in found] == [False, True]
    # Normalizing all of it would take over a second.
    assert took < 0.3


def test_other_notifications_prove_nothing() -> None:
    inbound = outbound().replace(b"outbound", b"inbound")

    assert proved(inbound) is None
    assert parse_notification(inbound).event_type == "sms.inbound.received"


# --- recording in the ledger -----------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "sqlite"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    opened: Ledger = (
        MemoryLedger() if request.param == "memory" else open_sqlite(str(tmp_path / "ledger.sqlite3"))
    )
    yield opened
    opened.close()


class StatusPolling:
    """A change that only reads the observed messages of a key."""

    def __init__(self, key: bytes) -> None:
        self.read_set = ObservedMessage(evidence=EVIDENCE).read_set
        self._key = key

    def apply(self, unit: Any) -> list[Evidence]:
        return list(unit.evidence(self._key))


def seen(ledger: Ledger) -> object:
    return ledger.apply([StatusPolling(match_key_of(EVIDENCE))])[0]


def test_repeated_observed_message_is_recorded_once(ledger: Ledger) -> None:
    sight = ObservedMessage(evidence=EVIDENCE)
    ledger.apply([sight, sight])
    ledger.apply([sight])

    assert seen(ledger) == [EVIDENCE]


class Ledgers:
    """Opens a ledger that is unavailable as long as a test wants."""

    def __init__(self) -> None:
        self.unavailable = False
        self.picky = False
        self.broken = False
        self.held = threading.Event()
        self.held.set()
        self.kept: list[str] = []

    def __call__(self) -> Ledgers:
        if self.unavailable:
            raise LedgerUnavailable("it is unavailable")
        return self

    def time(self) -> None:
        """Have no clock."""

    def apply(self, changes: Sequence[Change]) -> list[object]:
        self.held.wait(10)
        if self.unavailable:
            raise LedgerUnavailable("it is unavailable")
        if self.broken:
            raise TypeError("an unexpected exception")
        if self.picky:
            raise ChangeRefused("it does not fit")
        self.kept.extend(
            change.evidence.message_id for change in changes if isinstance(change, ObservedMessage)
        )
        return [None] * len(changes)

    def close(self) -> None:
        self.kept.append("closed")


def sight(message_id: str) -> Evidence:
    return Evidence(
        message_id=message_id,
        sender_address=None,
        destination_address="+16131234567",
        text_key=b"",
        sent_at=SENT_AT,
    )


@pytest.fixture
def ledgers() -> Ledgers:
    return Ledgers()


@pytest.fixture
def writer(ledgers: Ledgers, metrics: Metrics) -> Iterator[EvidenceWriter]:
    made = EvidenceWriter(ledgers, metrics=metrics, waiting=3, pause=0.01)
    made.start()
    yield made
    ledgers.held.set()
    made.stop()


def counted(metrics: Metrics, result: str) -> Callable[[], float]:
    return lambda: metrics.registry.get_sample_value("sms_bridge_evidence_total", {"result": result}) or 0.0


def test_waiting_evidence_is_written_before_the_stop(
    writer: EvidenceWriter, ledgers: Ledgers, metrics: Metrics
) -> None:
    for number in range(3):
        writer.add(sight(f"m{number}"))
    writer.stop()

    assert ledgers.kept == ["m0", "m1", "m2", "closed"]
    assert counted(metrics, "kept")() == 3


def test_evidence_beyond_the_queue_is_dropped_and_counted_without_a_wait(
    writer: EvidenceWriter, ledgers: Ledgers, metrics: Metrics
) -> None:
    ledgers.held.clear()
    for number in range(20):
        writer.add(sight(f"m{number}"))

    # The ledger processes up to three, three more wait.
    assert 14 <= counted(metrics, "dropped")() <= 17
    ledgers.held.set()
    wait_until(lambda: counted(metrics, "kept")() + counted(metrics, "dropped")() == 20)


@pytest.mark.parametrize("problem", ["unavailable", "picky"])
def test_evidence_that_the_ledger_refuses_is_dropped_and_the_next_is_recorded(
    writer: EvidenceWriter, ledgers: Ledgers, metrics: Metrics, problem: str
) -> None:
    setattr(ledgers, problem, True)
    writer.add(sight("lost"))
    wait_until(lambda: counted(metrics, "dropped")() == 1)
    setattr(ledgers, problem, False)
    writer.add(sight("kept"))
    wait_until(lambda: counted(metrics, "kept")() == 1)

    assert ledgers.kept == ["kept"]


def test_unexpected_exception_costs_evidence_and_nothing_else(
    writer: EvidenceWriter, ledgers: Ledgers, metrics: Metrics
) -> None:
    ledgers.broken = True
    with capture_logs() as lines:
        writer.add(sight("lost"))
        wait_until(lambda: len(lines) == 2, what="the lines about it")
    dropped = counted(metrics, "dropped")()
    ledgers.broken = False
    writer.add(sight("kept"))
    wait_until(lambda: counted(metrics, "kept")() == 1)

    assert [line["event"] for line in lines] == ["evidence.dropped", "thread.crashed"]
    assert dropped == 1
    assert ledgers.kept == ["kept"]
