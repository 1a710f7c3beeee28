"""The provider's outbound notifications settle a doubt before its history does, and hold up nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bridge.adapters.clock import SystemClock
from tests.harness.processes import BridgeProcess
from tests.harness.waiting import free_port, wait_until
from tests.harness.webhook import Webhook, listening_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.acceptance.conftest import Provider
    from tests.conftest import StartBridge
    from tests.harness.broker_client import BrokerClient

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

#: Longer than any of these tests: whatever is told sooner was not told by the history.
SETTLE = "600"


@pytest.fixture
def settings(env: Mapping[str, str]) -> dict[str, str]:
    """Return a bridge that gives the history a long time to show what was accepted."""
    return {
        **env,
        "BRIDGE_RECONCILE__SETTLE": SETTLE,
        "BRIDGE_INGEST__PORT": str(free_port()),
        "BRIDGE_BROKER__HEARTBEAT": "60",
    }


@pytest.fixture
def subscribed(settings: Mapping[str, str], tmp_path: Path) -> dict[str, str]:
    """Have the provider notify the ingest that is to come."""
    webhook = f"http://127.0.0.1:{settings['BRIDGE_INGEST__PORT']}/inbound-sms/webhook"
    known = {**settings, "BRIDGE_SUBSCRIPTIONS__WEBHOOK_URL": webhook}
    for number in ("+16139998877", "+16139998878"):
        made = BridgeProcess(tmp_path / number, "subscriptions", "create", number, env=known)

        assert made.wait() == 0, made.logs
        made.kill()
    return dict(settings)


def outcomes(amqp: BrokerClient, number: int, within: float = 20) -> dict[str, Any]:
    """Return the outcomes by command id, once there are so many; other events are passed over."""
    found: dict[str, Any] = {}
    passed_over = {"sms.outbound.deferred", "sms.outbound.synced"}
    while len(found) < number:
        (event,) = amqp.events(1, within=within)
        if event["type"] not in passed_over:
            found[event["subject"]] = event
    return found


@pytest.mark.parametrize("processes", [("up",), ("worker", "ingest")])
def test_a_notification_settles_a_doubt_that_the_history_does_not(
    processes: tuple[str, ...],
    bridge_process: StartBridge,
    subscribed: Mapping[str, str],
    provider: Provider,
    amqp: BrokerClient,
) -> None:
    for name in processes:
        bridge_process(name, env=subscribed)
    provider.settings(lag=3600)
    provider.faults({"name": "accept-drop"}, {"name": "accept-500"})
    numbers = {"default": None, "other": "+16139998878"}
    for id_, sender in numbers.items():
        command = {"id": id_, "destination_address": "+16131234567", "message": f"canary {id_}"}
        amqp.publish(command if sender is None else {**command, "sender_address": sender})
    published = outcomes(amqp, 2)

    accepted = {entry["message"]: entry for entry in provider.journal()}
    assert len(accepted) == 2
    for id_, event in published.items():
        entry = accepted[f"canary {id_}"]
        assert (event["type"], event["data"]["reconciled"]) == ("sms.outbound.sent", True)
        assert event["data"]["message_id"] == entry["message_id"]
        assert event["data"]["sender_address"] == entry["sender_address"]


@pytest.mark.parametrize("another_text", [False, True])
def test_a_notification_of_another_number_or_time_settles_nothing_and_one_of_another_text_forbids_a_resend(
    bridge_process: StartBridge,
    subscribed: Mapping[str, str],
    provider: Provider,
    amqp: BrokerClient,
    another_text: bool,
) -> None:
    up = bridge_process("up", env={**subscribed, "BRIDGE_RECONCILE__SETTLE": "4"})
    provider.settings(lag=3600)
    provider.faults({"name": "drop"})
    amqp.publish(
        {
            "id": "one",
            "destination_address": "+16131234567",
            "message": "canary",
            "sender_address": "+16139998877",
        }
    )
    wait_until(lambda: provider.stats()["sends"] == 1, what="the attempt")
    at = _now()
    webhook = Webhook(port=listening_port(up))
    unknown_clients: list[dict[str, object]] = [
        {"destinationAddress": "+16131234568"},
        {"senderAddress": "+16139998878"},
        {"dateTime": at - 7200},
    ]
    if another_text:
        unknown_clients.append({"message": "another canary"})
    for number, fields in enumerate(unknown_clients):
        assert webhook.post(_outbound(f"stranger-{number}", at, **fields)).status == 204
    published = outcomes(amqp, 1)["one"]

    if another_text:
        # A message of the same two numbers that belongs to no submission may be ours: nothing is sent again.
        assert published["type"] == "sms.outbound.unknown"
        assert provider.journal() == []
    else:
        # Nothing was found, so it was sent once more, and that is the one.
        assert (published["type"], published["data"]["reconciled"]) == ("sms.outbound.sent", False)
        assert [entry["message_id"] for entry in provider.journal()] == [published["data"]["message_id"]]


def test_an_ingest_without_a_ledger_goes_on(
    bridge_process: StartBridge, settings: Mapping[str, str], amqp: BrokerClient, tmp_path: Path
) -> None:
    nowhere = {**settings, "BRIDGE_LEDGER__URL": f"sqlite:///{tmp_path}/nowhere/ledger.sqlite3"}
    ingest = bridge_process("ingest", env=nowhere)
    webhook = Webhook(port=listening_port(ingest))
    statuses = {webhook.post(_outbound(f"m{number}", _now())).status for number in range(20)}
    events = amqp.events(20)
    wait_until(
        lambda: 'sms_bridge_evidence_total{result="dropped"} 20.0' in ingest.admin("/metrics")[1],
        what="the count of what was dropped",
    )

    assert statuses == {204}
    assert {event["type"] for event in events} == {"sms.outbound.synced"}
    assert ingest.logs.count('"event": "evidence.dropped"') == 1


def _now() -> int:
    return int(SystemClock().now())


def _outbound(message_id: str, at: int, **fields: object) -> dict[str, object]:
    message = {
        "dateTime": at,
        "destinationAddress": "+16131234567",
        "message": "canary",
        "messageId": message_id,
        "senderAddress": "+16139998877",
        **fields,
    }
    outer = {"outboundSMSMessage": message, "dateTime": at, "id": f"n-{message_id}"}
    return {"outboundSMSMessageNotification": outer}
