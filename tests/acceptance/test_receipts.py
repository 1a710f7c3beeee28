"""What became of a message later is told: asked for where that is configured, or when the provider posts it."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from bridge.domain.events import event_id
from tests.acceptance.bench import Bench
from tests.harness.waiting import wait_until
from tests.harness.webhook import Webhook, listening_port

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.acceptance.conftest import Provider
    from tests.conftest import StartBridge
    from tests.harness.broker_client import BrokerClient, Message

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

DELIVERED, UNDELIVERED = "sms.outbound.delivered", "sms.outbound.undelivered"


@pytest.fixture
def bench(amqp: BrokerClient, provider: Provider) -> Bench:
    return Bench(amqp, provider)


@pytest.fixture
def polling(env: Mapping[str, str]) -> dict[str, str]:
    """Return the configuration of a worker that asks soon."""
    return {**env, "BRIDGE_RECEIPTS__POLL": "true", "BRIDGE_RECEIPTS__FIRST": "0.2"}


def becomes(provider: Provider, sent: Mapping[str, Any], status: str, *, notify: bool = False) -> None:
    """Decide what became of the message that an outcome tells of."""
    provider.post("status", {"message_id": sent["message_id"], "status": status, "notify": notify})


def receipts(bench: Bench, number: int = 1) -> list[Message]:
    """Wait for at least `number` events that tell receipts."""
    return bench.events.wait(lambda message: message.routing_key in (DELIVERED, UNDELIVERED), number, 20)


def lookups(provider: Provider) -> int:
    """Return how often the provider's history or a status was asked for."""
    return sum(call["kind"] == "history" for call in provider.calls())


def ledger_of(env: Mapping[str, str]) -> sqlite3.Connection:
    """Open the bridge's ledger beside it."""
    return sqlite3.connect(env["BRIDGE_LEDGER__URL"].removeprefix("sqlite:///"))


def pending(env: Mapping[str, str]) -> int:
    """Return how many receipts are awaited."""
    with closing(ledger_of(env)) as ledger:
        (number,) = ledger.execute("SELECT count(*) FROM receipts").fetchone()
    return int(number)


def make_due(env: Mapping[str, str]) -> None:
    """Have all receipts due at once, as if the time had passed for which a worker that is gone had taken them."""
    with closing(ledger_of(env)) as ledger, ledger:
        ledger.execute("UPDATE receipts SET ask_at = 0")


def published(message: Message) -> tuple[str, str, dict[str, Any]]:
    return message.json["id"], message.json["type"], message.json["data"]


def test_what_the_provider_learns_is_told_once_for_each_message(
    bench: Bench, provider: Provider, polling: Mapping[str, str], bridge_process: StartBridge
) -> None:
    worker = bridge_process("worker", env=polling)
    bench.send("c1", destination_address=["+16135550101", "+16135550102"], metadata={"order": "17"})
    bench.send("c2", destination_address="+16135550101")
    sent = {event.json["data"]["index"]: event.json["data"] for event in bench.outcomes("c1", 2)}
    becomes(provider, sent[0], "DeliveredToTerminal")
    becomes(provider, sent[1], "DeliveryImpossible")
    first = receipts(bench, 2)
    _, other = bench.outcome("c2")
    becomes(provider, other, "DeliveredToTerminal")
    everything = receipts(bench, 3)
    metrics = worker.admin("/metrics")[1]

    assert sorted(map(published, first), key=lambda event: event[1]) == [
        (event_id(DELIVERED, "c1", 0, 0), DELIVERED, {**sent[0], "delivery_status": "DeliveredToTerminal"}),
        (
            event_id(UNDELIVERED, "c1", 1, 0),
            UNDELIVERED,
            {**sent[1], "delivery_status": "DeliveryImpossible"},
        ),
    ]
    assert sent[0]["metadata"] == {"order": "17"}
    assert [event.json["id"] for event in everything[2:]] == [event_id(DELIVERED, "c2", 0, 0)]
    assert all(event.properties["correlation_id"] == event.json["subject"] for event in everything)
    assert 'sms_bridge_receipts_total{result="delivered"} 2.0' in metrics
    assert worker.stop(signal.SIGTERM) == 0


def test_nobody_asks_unless_told_to(
    bench: Bench,
    provider: Provider,
    env: Mapping[str, str],
    polling: Mapping[str, str],
    bridge_process: StartBridge,
) -> None:
    worker = bridge_process("worker", env=env)
    bench.send("c1")
    _, sent = bench.outcome("c1")
    becomes(provider, sent, "DeliveredToTerminal")
    worker.stop(signal.SIGTERM)
    asked, rows = lookups(provider), pending(env)
    # It was not awaited either: nothing of it is left for one that does ask.
    bridge_process("worker", env=polling)
    bench.send("c2")
    _, later = bench.outcome("c2")
    becomes(provider, later, "DeliveredToTerminal")
    (receipt,) = receipts(bench)

    assert (asked, rows) == (0, 0)
    assert receipt.json["subject"] == "c2"
    assert bench.steps("c1") == ["sent"]


@pytest.mark.parametrize("place", ["recorded", "receipt-published"])
def test_a_crash_loses_no_receipt(
    bench: Bench, provider: Provider, polling: Mapping[str, str], bridge_process: StartBridge, place: str
) -> None:
    crashing = bridge_process("worker", env={**polling, "SMS_BRIDGE_FAILPOINT": f"{place}:kill9"})
    provider.settings(delivered_after=0)
    bench.send("c1")
    wait_until(lambda: crashing.returncode is not None, 20, what="the crash")
    published_before = [m for m in bench.events.look() if m.routing_key == DELIVERED]
    make_due(polling)
    bridge_process("worker", env=polling)
    after = receipts(bench, len(published_before) + 1)

    assert crashing.returncode == -signal.SIGKILL
    assert len(published_before) == (1 if place == "receipt-published" else 0)
    assert {event.json["id"] for event in after} == {event_id(DELIVERED, "c1", 0, 0)}
    assert bench.sms("c1") == 1


def test_a_webhook_tells_it_at_once_and_as_asking_would_have(
    bench: Bench, provider: Provider, polling: Mapping[str, str], bridge_process: StartBridge
) -> None:
    worker = bridge_process("worker", env={**polling, "BRIDGE_RECEIPTS__FIRST": "3600"})
    ingest = bridge_process("ingest", env={**polling, "BRIDGE_INGEST__PORT": "0"})
    webhook = Webhook(port=listening_port(ingest))
    bench.send("c1")
    _, sent = bench.outcome("c1")
    becomes(provider, sent, "DeliveredToTerminal")
    note = {"address": sent["destination_address"], "deliveryStatus": "DeliveredToTerminal"}
    answers = [
        webhook.post({"deliveryInfoNotification": {"deliveryInfo": {**note, "messageId": message_id}}}).status
        for message_id in (sent["message_id"], sent["message_id"], "somebody-elses")
    ]
    mine, others = receipts(bench, 2)
    make_due(polling)
    wait_until(lambda: pending(polling) == 0, 20, what="an end of waiting")

    assert answers == [204] * 3
    assert published(mine) == (
        event_id(DELIVERED, "c1", 0, 0),
        DELIVERED,
        {**sent, "delivery_status": "DeliveredToTerminal"},
    )
    assert (others.json["data"]["message_id"], others.json.get("subject")) == ("somebody-elses", None)
    assert lookups(provider) == 0
    assert len(receipts(bench, 2)) == 2
    assert worker.stop(signal.SIGTERM) == 0


def test_what_was_asked_for_is_a_repeat_when_the_webhook_comes(
    bench: Bench, provider: Provider, polling: Mapping[str, str], bridge_process: StartBridge
) -> None:
    bridge_process("worker", env=polling)
    ingest = bridge_process("ingest", env={**polling, "BRIDGE_INGEST__PORT": "0"})
    bench.send("c1")
    _, sent = bench.outcome("c1")
    becomes(provider, sent, "DeliveryImpossible")
    receipts(bench)
    wait_until(lambda: pending(polling) == 0, 20, what="an end of waiting")
    note = {"address": "+1", "deliveryStatus": "DeliveryImpossible", "messageId": sent["message_id"]}
    late = Webhook(port=listening_port(ingest)).post({"deliveryInfoNotification": {"deliveryInfo": note}})

    assert late.status == 204
    # Counted once it was answered.
    counted = "sms_bridge_notifications_repeated_total 1.0"
    wait_until(lambda: counted in ingest.admin("/metrics")[1], what="the repeat to be counted")
    assert [event.json["id"] for event in receipts(bench)] == [event_id(UNDELIVERED, "c1", 0, 0)]
