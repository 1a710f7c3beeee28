"""A running ingest keeps the provider's subscriptions as they are declared."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.waiting import free_port, wait_until
from tests.unit.simulated import NUMBER, OTHER, Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.conftest import Provider
    from tests.conftest import StartBridge
    from tests.harness.broker_client import BrokerClient
    from tests.harness.processes import BridgeProcess

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

CHANNELS = "notificationchannel/v1/{}/channels"
SUBSCRIPTIONS = "smsmessaging/v1/{}/inbound/subscriptions"
#: Seconds; a check takes its own time on top of it.
INTERVAL = 3.0


class Account:
    """What the provider has, and a hand behind the bridge's back."""

    def __init__(self, url: str) -> None:
        self._client = Client(url)

    def close(self) -> None:
        self._client.__exit__()

    def channels(self) -> list[dict[str, Any]]:
        answer = self._client.call("GET", CHANNELS).json()
        return list(answer["notificationChannelList"]["notificationChannel"])

    def numbers(self) -> list[str]:
        """Return the numbers that a channel is told of, each as often as it is."""
        answer = self._client.call("GET", SUBSCRIPTIONS).json()
        callbacks = {channel["callbackURL"] for channel in self.channels()}
        return sorted(
            one["destinationAddress"]
            for one in answer["subscriptionList"]["subscription"]
            if one["callbackReference"]["notifyURL"] in callbacks
        )

    def delete_subscriptions(self) -> None:
        answer = self._client.call("GET", SUBSCRIPTIONS).json()
        for one in answer["subscriptionList"]["subscription"]:
            id_ = one["resourceURL"].rpartition("/")[2]
            assert self._client.call("DELETE", f"{SUBSCRIPTIONS}/{id_}").status_code == 204

    def delete_channels(self) -> None:
        for channel in self.channels():
            path = f"{CHANNELS}/{channel['callbackURL']}"
            assert self._client.call("DELETE", path).status_code == 204


@pytest.fixture
def account(provider: Provider) -> Iterator[Account]:
    account = Account(provider.url)
    yield account
    account.close()


@pytest.fixture
def start_keeping(bridge_process: StartBridge, env: dict[str, str]) -> Callable[..., BridgeProcess]:
    """Start an ingest that keeps both numbers of the account."""

    def start(**changes: str) -> BridgeProcess:
        port = free_port()
        keeping = {
            "BRIDGE_SUBSCRIPTIONS__KEEP": "true",
            "BRIDGE_SUBSCRIPTIONS__CHECK_INTERVAL": str(INTERVAL),
            "BRIDGE_SUBSCRIPTIONS__NUMBERS": f"{NUMBER},{OTHER}",
            "BRIDGE_SUBSCRIPTIONS__WEBHOOK_URL": f"http://127.0.0.1:{port}/inbound-sms/webhook",
            "BRIDGE_INGEST__PORT": str(port),
            "BRIDGE_INGEST__AUTHORIZATION": "Bearer hunter2-tangerine",
        }
        return bridge_process("ingest", env={**env, **keeping, **changes})

    return start


def reported(process: BridgeProcess) -> tuple[int, dict[str, Any]]:
    """Return the status of readiness, and what it says of subscriptions."""
    status, body = process.admin("/readyz")
    return status, json.loads(body)["reasons"]["subscriptions"]


def metric(process: BridgeProcess, name: str) -> float | None:
    found = re.search(rf"^sms_bridge_{name} (\S+)$", process.admin("/metrics")[1], re.MULTILINE)
    return float(found[1]) if found else None


def checks(process: BridgeProcess) -> float:
    return metric(process, r'subscription_checks_total\{result="done"\}') or 0


def test_deleted_subscription_is_created_again_and_works(
    start_keeping: Callable[..., BridgeProcess], account: Account, provider: Provider, amqp: BrokerClient
) -> None:
    process = start_keeping()
    wait_until(lambda: account.numbers() == [NUMBER, OTHER], 20)
    account.delete_subscriptions()
    wait_until(lambda: account.numbers() == [NUMBER, OTHER], 20)
    account.delete_channels()
    wait_until(lambda: account.numbers() == [NUMBER, OTHER], 20)
    provider.post("inbound", {"from": "+16135550001", "to": OTHER, "message": "canary question"})
    (event,) = amqp.events(1)
    wait_until(lambda: metric(process, "subscriptions_made_total") == 6, 20)

    assert event["type"] == "sms.inbound.received"
    assert len(account.channels()) == 1
    assert reported(process) == (200, {"ok": True, "detail": "2 as declared"})
    assert metric(process, "subscriptions_missing") == 0


def test_a_cancellation_is_an_event_and_the_subscription_is_made_again_once_it_can_be(
    start_keeping: Callable[..., BridgeProcess], account: Account, provider: Provider, amqp: BrokerClient
) -> None:
    process = start_keeping(BRIDGE_SUBSCRIPTIONS__CHECK_INTERVAL="3600")
    wait_until(lambda: account.numbers() == [NUMBER, OTHER], 20)
    provider.post("unassign", {"number": OTHER})
    (event,) = amqp.events(1)
    wait_until(lambda: metric(process, "subscriptions_missing") == 1, 20)
    missing = reported(process)
    provider.post("assign", {"number": OTHER})
    wait_until(lambda: account.numbers() == [NUMBER, OTHER], 40)
    wait_until(lambda: reported(process)[1]["ok"], 20)

    assert event["type"] == "sms.subscription.cancelled"
    assert missing[0] == 200
    assert missing[1]["ok"] is False
    assert missing[1]["detail"].startswith("missing: ***8878 (")
    assert "subscription.cancelled" in process.logs
    assert len(account.channels()) == 1


def test_two_ingests_that_start_together_end_with_one_channel(
    start_keeping: Callable[..., BridgeProcess], account: Account
) -> None:
    port = str(free_port())
    url = {"BRIDGE_SUBSCRIPTIONS__WEBHOOK_URL": f"http://127.0.0.1:{port}/inbound-sms/webhook"}
    both = [start_keeping(**url), start_keeping(**url)]
    wait_until(lambda: all(reported(process)[1]["ok"] for process in both), 30)
    account.delete_channels()
    wait_until(lambda: (len(account.channels()), account.numbers()) == (1, [NUMBER, OTHER]), 30)
    before = [checks(process) for process in both]
    # Each has looked at what the other made.
    wait_until(lambda: all(checks(one) >= then + 2 for one, then in zip(both, before, strict=True)), 30)

    assert (len(account.channels()), account.numbers()) == (1, [NUMBER, OTHER])


def test_an_ingest_that_is_to_keep_subscriptions_needs_the_account(bridge_process: StartBridge) -> None:
    env = {
        "BRIDGE_BROKER__URL": "amqp://guest:hunter2@127.0.0.1:1/",
        "BRIDGE_SUBSCRIPTIONS__KEEP": "true",
        "BRIDGE_SUBSCRIPTIONS__WEBHOOK_URL": "https://bridge.example/inbound-sms/webhook",
    }
    process = bridge_process("ingest", env=env, ready=False)

    assert process.wait() == 78
    assert "cpaas.base_url: is missing" in process.logs
