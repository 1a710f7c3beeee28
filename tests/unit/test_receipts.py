"""Delivery receipts: polling times, calls, interpretation of responses, and the events."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from bridge.adapters.cpaas.archive import CpaasStatuses
from bridge.domain.events import event_id, outgoing_event
from bridge.domain.evidence import Evidence, HistoryExtract
from bridge.domain.ledger import Call, Claim, NextStep, RecordAnswer, Resolve
from bridge.domain.match_keys import text_key
from bridge.domain.outcomes import Outcome, SubmissionResult
from bridge.domain.receipts import Pair, PendingReceipt, by_thread, next_ask, pair_of, receipt_event
from bridge.domain.rules import LedgerRules, ReceiptRules
from bridge.jobs.receipt_calls import StatusPolling
from bridge.jobs.receipts import LEASE, POLL, PollerRules, ReceiptPoller, batch_of
from bridge.ops.metrics import Metrics
from bridge.ports import ArchiveUnavailable
from bridge.simulator import Simulator
from tests.fakes.clock import HandClock
from tests.fakes.ledger import MemoryLedger, MemoryReceipts, MemorySeen
from tests.fakes.publisher import FakePublisher
from tests.harness.commands import NOW
from tests.harness.contract_check import event_of
from tests.unit.cpaas_setup import client_setup
from tests.unit.sent_messages import OURS, STYLE, THEIRS, TRACEPARENT, command, sent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bridge.domain.commands import SendSms
    from bridge.domain.ledger import Change

RULES = ReceiptRules(first=30.0, max_age=86400.0)
DELIVERED, UNDELIVERED = "sms.outbound.delivered", "sms.outbound.undelivered"

# --- times and events ------------------------------------------------------------------------------------------------


def test_status_is_polled_less_often_with_age_and_a_last_time() -> None:
    asked = [NOW + RULES.first]
    while (again := next_ask(NOW, asked[-1], RULES)) is not None:
        asked.append(again)

    ages = [at - NOW for at in asked]
    assert ages == [*(30.0 * 2**number for number in range(12)), 86400.0]


def test_polls_missed_in_an_outage_resume_at_the_regular_schedule() -> None:
    assert next_ask(NOW, NOW + 1000, RULES) == NOW + 1920
    assert next_ask(NOW, NOW + 80_000, RULES) == NOW + 86400
    assert next_ask(NOW, NOW + 100_000, RULES) is None


def test_clock_set_back_does_not_delay_the_next_poll_by_as_much() -> None:
    assert next_ask(NOW, NOW - 5000, RULES) == NOW - 5000 + 30


@pytest.mark.parametrize(
    ("status", "type_"), [("DeliveredToTerminal", DELIVERED), ("DeliveryImpossible", UNDELIVERED)]
)
def test_receipt_is_the_outcome_with_its_new_status(status: str, type_: str) -> None:
    outcome = event_of(sent(replay=2).event)
    event = receipt_event(sent(replay=2), status, style=STYLE, now=NOW + 60)
    envelope = event_of(event.body)

    assert (event.type, event.subject, event.id) == (type_, "c1", event_id(type_, "c1", 0, 2))
    assert envelope["data"] == {**outcome["data"], "delivery_status": status}
    assert (envelope["traceparent"], envelope["time"]) == (TRACEPARENT, "2027-01-15T08:01:00.000Z")


@pytest.mark.parametrize("stored", [False, True])
def test_keys_of_a_receipt_have_the_configured_style_and_not_that_of_the_outcome(stored: bool) -> None:
    of = sent(style=replace(STYLE, camel_case=stored))
    snake = event_of(receipt_event(of, "DeliveryImpossible", style=STYLE, now=NOW).body)["data"]
    camel = event_of(
        receipt_event(of, "DeliveryImpossible", style=replace(STYLE, camel_case=True), now=NOW).body
    )["data"]

    assert (snake["delivery_status"], snake["metadata"]) == ("DeliveryImpossible", {"order_no": "17"})
    assert (camel["deliveryStatus"], camel["metadata"]) == ("DeliveryImpossible", {"order_no": "17"})
    assert len(snake) == len(camel) == 12


def test_message_from_an_unknown_sender_can_not_be_polled() -> None:
    assert pair_of(sent()) == Pair(remote_address=THEIRS, local_address=OURS)
    assert pair_of(sent(sender_address=None)) is None


def test_messages_of_one_thread_are_taken_together() -> None:
    one, two, other = (PendingReceipt(sent=sent(id_), sent_at=NOW) for id_ in ("c1", "c2", "c3"))
    other = replace(other, sent=sent("c3", sender_address="+16139998878"))
    threads = by_thread([one, other, two])

    assert list(threads.values()) == [[one, two], [other]]


# --- pending receipts ------------------------------------------------------------------------------------------------


def claimed(ledger: MemoryLedger, rules: LedgerRules, of: SendSms) -> None:
    (verdict,) = ledger.apply([Claim(command=of, index=0, owner="w1", now=NOW, style=STYLE, rules=rules)])
    assert isinstance(verdict, Call)


def recorded(of: SendSms, outcome: Outcome | None, rules: LedgerRules, **result: Any) -> RecordAnswer:
    return RecordAnswer(
        command=of,
        command_id="c1",
        index=0,
        owner="w1",
        next_step=NextStep(
            outcome=outcome,
            result=SubmissionResult(attempts=1, **result),
            retry_at=NOW,
            in_doubt=outcome is None,
        ),
        now=NOW,
        style=STYLE,
        receipts=rules.receipts,
    )


POLLING = LedgerRules(receipts=RULES)


@pytest.mark.parametrize(
    ("rules", "outcome", "message_id", "expected"),
    [
        (POLLING, Outcome.SENT, "m1", True),
        (POLLING, Outcome.SENT, None, False),
        (POLLING, Outcome.UNDELIVERABLE, "m1", False),
        (POLLING, Outcome.REJECTED, None, False),
        (POLLING, None, None, False),
        (LedgerRules(), Outcome.SENT, "m1", False),
    ],
)
def test_receipt_is_pending_for_a_sent_message_when_polling_is_on(
    rules: LedgerRules, outcome: Outcome | None, message_id: str | None, expected: bool
) -> None:
    ledger, of = MemoryLedger(), command()
    claimed(ledger, rules, of)
    ledger.apply([recorded(of, outcome, rules, message_id=message_id)])

    assert [submission_id.command_id for submission_id in ledger.expected] == (["c1"] if expected else [])
    assert all((e.sent_at, e.ask_at) == (NOW, NOW + 30) for e in ledger.expected.values())


def test_receipt_is_pending_for_a_message_found_in_the_history() -> None:
    ledger, of = MemoryLedger(), command(sender_address=OURS)
    claimed(ledger, POLLING, of)
    found = Evidence(
        message_id="m1",
        sender_address=OURS,
        destination_address=THEIRS,
        text_key=text_key("hi"),
        sent_at=NOW,
        status="DeliveredToNetwork",
    )
    reading = HistoryExtract(messages=(found,), complete=True, oldest_at=NOW, read_at=NOW + 90)
    looked = NOW + 90
    ledger.apply(
        [
            recorded(of, None, POLLING),
            Claim(command=of, index=0, owner="w2", now=looked, style=STYLE, rules=POLLING, redelivered=True),
        ]
    )
    resolve = Resolve(
        command=of,
        command_id="c1",
        index=0,
        owner="w2",
        reading=reading,
        now=looked,
        style=STYLE,
        rules=POLLING,
    )
    ledger.apply([resolve])

    assert [(e.sent_at, e.ask_at) for e in ledger.expected.values()] == [(looked, looked + 30)]


# --- polling ---------------------------------------------------------------------------------------------------------


@dataclass
class FakeStatuses:
    """A fake of the port `Statuses`: the status of each message, and the messages of each thread."""

    statuses: dict[str, str | None] = field(default_factory=dict)
    listed: set[str] = field(default_factory=set)
    #: Messages and threads (None) that cannot be polled.
    failing: set[str | None] = field(default_factory=set)
    calls: list[str | None] = field(default_factory=list)
    #: Called during a call.
    interlude: Callable[[], None] = lambda: None

    def of_message(self, pair: Pair, message_id: str, *, until: float) -> str | None:
        self._called(message_id)
        return self.statuses.get(message_id)

    def of_thread(self, pair: Pair, *, until: float) -> Mapping[str, str | None]:
        self._called(None)
        return {message_id: self.statuses.get(message_id) for message_id in self.listed}

    def _called(self, what: str | None) -> None:
        self.calls.append(what)
        self.interlude()
        if what in self.failing:
            raise ArchiveUnavailable("down")


class Receipts(MemoryReceipts):
    """Pending receipts, and the number of times that they were taken."""

    takes = 0

    def take(self, now: float, until: float, limit: int) -> Sequence[PendingReceipt]:
        self.takes += 1
        return super().take(now, until, limit)


class PollingModel:
    """A ledger with pending receipts, and their poller, one iteration at a time."""

    def __init__(self, **polling: Any) -> None:
        self.ledger, self.clock, self.provider = MemoryLedger(), HandClock(wall=NOW), FakeStatuses()
        self.seen = MemorySeen(self.ledger)
        self.receipts = Receipts(self.ledger, self.seen)
        self.publisher, self.metrics = FakePublisher(), Metrics(version="0")
        self.stopping = threading.Event()
        self.may_ask = True
        given: dict[str, Any] = {"per_second": 0.0} | polling
        self.polling = StatusPolling(
            self.provider,
            may_ask=lambda: self.may_ask,
            clock=self.clock,
            metrics=self.metrics,
            stopping=self.stopping,
            **given,
        )
        self.poller = ReceiptPoller(
            lambda: self.receipts,
            self.polling,
            self.publisher,
            PollerRules(
                to_message=partial(outgoing_event, exchange="sms.events", unrouted_queue="sms.unrouted"),
                receipts=RULES,
                batch=100,
                style=STYLE,
            ),
        )

    def send(self, *ids: str, **fields: object) -> None:
        for id_ in ids:
            of = command(id_, **fields)
            claim = Claim(command=of, index=0, owner="w1", now=self.clock.now(), style=STYLE, rules=POLLING)
            result = SubmissionResult(attempts=1, message_id=f"m-{id_}", sender_address=OURS)
            file = RecordAnswer(
                command=of,
                command_id=id_,
                index=0,
                owner="w1",
                next_step=NextStep(outcome=Outcome.SENT, result=result),
                now=self.clock.now(),
                style=STYLE,
                receipts=RULES,
            )
            changes: list[Change] = [claim, file]
            self.ledger.apply(changes)

    def poll(self, later: float = 0.0) -> float:
        self.clock.pass_by(later)
        return self.poller.poll()

    def asks(self) -> dict[str, float]:
        """Return when the pending receipts are due, in seconds from now."""
        return {
            submission_id.command_id: e.ask_at - self.clock.now()
            for submission_id, e in self.ledger.expected.items()
        }

    def published(self) -> list[tuple[object, object]]:
        return [(m.properties["correlation_id"], m.routing_key) for m in self.publisher.taken]


@pytest.fixture
def model() -> Iterator[PollingModel]:
    made = PollingModel()
    yield made
    made.publisher.close()


def test_nothing_is_polled_before_it_is_due(model: PollingModel) -> None:
    model.send("c1")
    waits = [model.poll(), model.poll(29)]

    assert (waits, model.provider.calls) == ([POLL, POLL], [])


def test_known_status_is_published_and_no_longer_pending(model: PollingModel) -> None:
    model.send("c1")
    model.send("c2", destination_address="+16131234568")
    model.provider.statuses = {"m-c1": "DeliveredToTerminal", "m-c2": "DeliveryImpossible"}
    model.poll(30)

    assert model.published() == [("c1", DELIVERED), ("c2", UNDELIVERED)]
    assert model.asks() == {}
    assert model.seen.known([event_id(DELIVERED, "c1", 0, 0)])


@pytest.mark.parametrize(
    "status", [None, "DeliveredToNetwork", "MessageWaiting", "Something", "deliveredtoterminal"]
)
def test_other_status_is_polled_again_and_finally_given_up_without_an_event(
    model: PollingModel, status: str | None
) -> None:
    model.send("c1")
    model.provider.statuses = {"m-c1": status}
    for _ in range(20):
        model.poll(model.asks().get("c1", 0.0))

    assert (len(model.provider.calls), model.published(), model.asks()) == (13, [], {})
    assert model.metrics.registry.get_sample_value("sms_bridge_receipts_total", {"result": "given_up"}) == 1


def test_thread_is_read_if_that_is_fewer_calls_and_unlisted_messages_are_polled_singly(
    model: PollingModel,
) -> None:
    ids = [f"c{number}" for number in range(5)]
    model.send(*ids)
    model.send("alone", destination_address="+16131234568")
    model.provider.statuses = {f"m-{id_}": "DeliveredToTerminal" for id_ in [*ids, "alone"]}
    model.provider.listed = {f"m-{id_}" for id_ in ids[:4]}
    model.poll(30)

    assert model.provider.calls == [None, "m-c4", "m-alone"]
    assert sorted(model.published()) == [(id_, DELIVERED) for id_ in ["alone", *ids]]


def test_nothing_is_polled_while_the_breaker_is_open_or_the_broker_unavailable(model: PollingModel) -> None:
    model.send("c1")
    model.may_ask = False
    breaker_open = model.poll(30)
    model.may_ask, model.publisher.available = True, False
    disconnected = model.poll()

    assert (breaker_open, disconnected, model.provider.calls, model.asks()) == (POLL, POLL, [], {"c1": 0.0})
    assert model.receipts.takes == 0


def test_unreachable_provider_is_polled_with_growing_pauses(model: PollingModel) -> None:
    model.send(*(f"c{number}" for number in range(20)))
    for number in range(20):
        model.send(f"d{number}", destination_address=f"+1613123{number:04}")
    model.provider.failing = {None, *(f"m-d{number}" for number in range(20))}
    model.clock.pass_by(30)
    pauses = []
    for _ in range(8):
        model.poll()
        pauses.append(model.polling.wait)
        if pauses[-1] > 2 * POLL:
            assert model.poll(pauses[-1] / 2) == pauses[-1] / 2
        model.clock.pass_by(model.polling.wait)

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert len(model.provider.calls) == 8
    # Failed receipts have had their turn, so that they do not delay the others, which stay due.
    assert len(set(model.asks())) == 40


def test_message_that_always_fails_does_not_block_the_polling_of_others(model: PollingModel) -> None:
    model.send("c1")
    model.send("c2", destination_address="+16131234568")
    model.provider.statuses = {"m-c2": "DeliveredToTerminal"}
    model.provider.failing = {"m-c1"}
    model.poll(30)
    model.poll(1.5)

    assert model.provider.calls == ["m-c1", "m-c2"]
    assert (model.published(), list(model.asks())) == ([("c2", DELIVERED)], ["c1"])


def test_calls_keep_the_configured_distance() -> None:
    model = PollingModel(per_second=4.0)
    model.send("c1")
    model.poll(30)

    assert model.polling.wait == 0.25
    assert (batch_of(4.0), batch_of(0.01), batch_of(1000.0), batch_of(0.0)) == (40, 1, 100, 100)
    model.publisher.close()


def test_message_with_a_notified_receipt_is_not_polled(model: PollingModel) -> None:
    model.send("c1")
    model.seen.note([event_id(UNDELIVERED, "c1", 0, 0)], NOW)
    model.poll(30)

    assert (model.provider.calls, model.published(), model.asks()) == ([], [], {})


def test_unconfirmed_receipt_is_polled_again_and_published_with_the_same_id(
    model: PollingModel,
) -> None:
    model.send("c1")
    model.provider.statuses = {"m-c1": "DeliveredToTerminal"}
    model.publisher.confirming.clear()
    # It waits by the manual clock, which only the test advances.
    waiting = threading.Thread(target=model.poll, args=(30,))
    waiting.start()
    while waiting.is_alive():
        model.clock.pass_by(5)
        waiting.join(0.05)
    taken = model.asks()
    model.publisher.confirming.set()
    model.poll(LEASE)

    assert taken.keys() == {"c1"}
    assert {message.properties["message_id"] for message in model.publisher.taken} == {
        event_id(DELIVERED, "c1", 0, 0)
    }


# --- the provider ----------------------------------------------------------------------------------------------------


def test_message_and_thread_are_each_read_with_one_call() -> None:
    with Simulator() as simulator, client_setup(base_url=simulator.url) as it:
        statuses = CpaasStatuses(it.client.history)
        it.send(destination_address=THEIRS)
        (message,) = it.client.history.messages(THEIRS, OURS).messages
        pair = Pair(remote_address=THEIRS, local_address=OURS)
        until = 1e12

        assert statuses.of_message(pair, message.message_id, until=until) == "DeliveredToNetwork"
        assert statuses.of_message(pair, "unknown", until=until) is None
        assert statuses.of_thread(pair, until=until) == {message.message_id: "DeliveredToNetwork"}
        assert statuses.of_thread(replace(pair, remote_address="+16130000000"), until=until) == {}


def test_message_id_that_is_not_a_path_segment_is_not_polled() -> None:
    with Simulator() as simulator, client_setup(base_url=simulator.url) as it:
        statuses = CpaasStatuses(it.client.history)
        pair = Pair(remote_address=THEIRS, local_address=OURS)

        assert statuses.of_message(pair, "..", until=1e12) is None
        assert statuses.of_thread(replace(pair, remote_address="."), until=1e12) == {}


def test_unreachable_provider_can_not_be_polled() -> None:
    with client_setup(base_url="http://127.0.0.1:1") as it:
        statuses = CpaasStatuses(it.client.history)
        pair = Pair(remote_address=THEIRS, local_address=OURS)

        with pytest.raises(ArchiveUnavailable):
            statuses.of_message(pair, "m1", until=1e12)
        with pytest.raises(ArchiveUnavailable):
            statuses.of_thread(pair, until=1e12)


# --- notifications of the provider -----------------------------------------------------------------------------------


def test_breaker_that_opens_during_a_round_stops_it_and_leaves_the_rest_pending(model: PollingModel) -> None:
    for number in range(3):
        model.send(f"c{number}", destination_address=f"+1613123{number:04}")

    def open_breaker() -> None:
        model.may_ask = False

    model.provider.interlude = open_breaker
    wait = model.poll(30)

    assert (wait, len(model.provider.calls)) == (POLL, 1)
    assert model.asks() == {"c0": 30.0, "c1": 0.0, "c2": 0.0}
