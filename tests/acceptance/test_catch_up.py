"""What came while no ingest ran is an event once, whether the webhook comes later or not."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from bridge.adapters.store import open_ledger
from tests.acceptance.commands import run
from tests.harness.waiting import wait_until
from tests.harness.webhook import Webhook, inbound, inbound_id, listening_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.acceptance.conftest import Provider
    from tests.conftest import StartBridge
    from tests.harness.broker_client import BrokerClient

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

OURS = ("+16139998877", "+16139998878")


#: Seconds ago that messages were sent: no webhook of theirs is under way any more.
AGE = 120


def comes_in(provider: Provider, *texts: str, age: float = AGE) -> None:
    """Have messages sent to both numbers, each from somebody else."""
    for number, text in enumerate(texts):
        sender, to = f"+1613555{number:04}", OURS[number % 2]
        provider.post("inbound", {"from": sender, "to": to, "message": text, "age": age})


def checked(event: Mapping[str, Any]) -> str:
    """Return an event's text, if it is that of a recovered message."""
    data = event["data"]
    assert (event["type"], data["recovered"], data["notification_id"]) == ("sms.inbound.received", True, None)
    numbers = {"to": data["destination_address"], "sender": data["sender_address"]}
    assert event["id"] == inbound_id(data["message_id"], data["message"], **numbers)
    return str(data["message"])


def posted(event: Mapping[str, Any]) -> dict[str, object]:
    """Return the notification of a recovered message, which comes late."""
    data = event["data"]
    numbers = {"destinationAddress": data["destination_address"], "senderAddress": data["sender_address"]}
    return inbound(data["message_id"], data["message"], **numbers)


@pytest.mark.parametrize("units", ["s", "ms", "mixed"])
def test_the_command_publishes_what_is_missing_and_nothing_the_second_time(
    env: dict[str, str], provider: Provider, amqp: BrokerClient, bridge_process: StartBridge, units: str
) -> None:
    provider.settings(units=units, page_limit=2)
    texts = [f"canary {number}" for number in range(7)]
    comes_in(provider, *texts)
    for number in range(5):
        more = {"from": "+16135559999", "to": OURS[0], "message": f"canary more {number}", "age": AGE}
        provider.post("inbound", more)
    open_ledger(env["BRIDGE_LEDGER__URL"]).close()
    dry = run("catch-up", "--dry-run", "--json", env=env)
    first = run("catch-up", "--json", env=env)
    second = run("catch-up", "--json", env=env)
    events = amqp.events(12)
    ingest = bridge_process("ingest", env={**env, "BRIDGE_INGEST__PORT": "0"})
    late = Webhook(port=listening_port(ingest)).post(posted(events[0]))

    assert (dry.code, first.code, second.code) == (0, 0, 0), first.stderr
    assert (dry.json["recovered"], first.json["recovered"], second.json["recovered"]) == (12, 12, 0)
    assert sorted(map(checked, events)) == sorted([*texts, *(f"canary more {n}" for n in range(5))])
    assert late.status == 204
    assert amqp.depth("test.events") == 0


def test_an_ingest_finds_at_start_and_later_what_came_meanwhile(
    env: dict[str, str], provider: Provider, amqp: BrokerClient, bridge_process: StartBridge
) -> None:
    settings = {
        **env,
        "BRIDGE_INGEST__PORT": "0",
        "BRIDGE_CATCH_UP__AT_START": "true",
        "BRIDGE_CATCH_UP__INTERVAL": "0.5",
    }
    bridge_process("ingest", env=settings).stop(signal.SIGTERM)
    comes_in(provider, "canary 0", "canary 1")
    ingest = bridge_process("ingest", env=settings)
    at_start = amqp.events(2, within=20)
    comes_in(provider, "canary 2")
    later = amqp.events(1, within=20)
    late = Webhook(port=listening_port(ingest)).post(posted(later[0]))
    iterations = ingest.logs.count("catch_up.ended")
    wait_until(lambda: ingest.logs.count("catch_up.ended") >= iterations + 2, what="two more rounds")

    assert sorted(map(checked, at_start)) == ["canary 0", "canary 1"]
    assert [checked(event) for event in later] == ["canary 2"]
    assert late.status == 204
    assert amqp.depth("test.events") == 0
    assert "sms_bridge_notifications_recovered_total 3.0" in ingest.admin("/metrics")[1]
    assert ingest.stop(signal.SIGTERM) == 0


def test_what_came_just_now_is_left_to_its_webhook_unless_the_time_says_otherwise(
    env: dict[str, str], provider: Provider, amqp: BrokerClient
) -> None:
    comes_in(provider, "canary 0", age=0)
    comes_in(provider, "canary 1")
    open_ledger(env["BRIDGE_LEDGER__URL"]).close()
    left = run("catch-up", env=env)
    early = amqp.events(1)
    all_of_it = run("catch-up", "--since", "1h", "--json", env=env)
    later = amqp.events(1)

    assert (left.code, all_of_it.code) == (0, 0)
    assert "young: 1" in left.stderr
    assert [checked(event) for event in (*early, *later)] == ["canary 1", "canary 0"]
    assert all_of_it.json["recovered"] == 1
    assert amqp.depth("test.events") == 0


def test_without_an_account_an_ingest_that_is_to_catch_up_says_so(vhost_url: str) -> None:
    env = {"BRIDGE_BROKER__URL": vhost_url, "BRIDGE_CATCH_UP__AT_START": "true"}
    refused = run("ingest", env=env)

    assert refused.code == 78
    assert "cpaas.base_url" in refused.stderr


def test_a_ledger_that_is_not_there_is_not_made(
    env: dict[str, str], provider: Provider, tmp_path: Path
) -> None:
    comes_in(provider, "canary 0")
    runs = [run("catch-up", *arguments, env=env) for arguments in ((), ("--dry-run",))]

    assert [(done.code, "there is no ledger yet" in done.stderr) for done in runs] == [(69, True)] * 2
    assert not (tmp_path / "ledger.sqlite3").exists()


def test_without_a_provider_or_a_broker_the_command_exits_69(
    env: dict[str, str], provider: Provider, vhost_url: str
) -> None:
    comes_in(provider, "canary 0")
    open_ledger(env["BRIDGE_LEDGER__URL"]).close()
    nobody = {**env, "BRIDGE_CPAAS__BASE_URL": "http://127.0.0.1:1"}
    no_broker = {**env, "BRIDGE_BROKER__URL": "amqp://guest:hunter2@127.0.0.1:1/"}
    unknown_client = {**env, "BRIDGE_BROKER__URL": vhost_url.replace("guest:guest", "guest:hunter2")}

    assert run("catch-up", env=nobody).code == 69
    assert run("catch-up", env=no_broker).code == 69
    refused = run("catch-up", env=unknown_client)
    assert refused.code == 69
    assert "ACCESS_REFUSED" in refused.stderr
    # Nothing was noted of what could not be published.
    assert run("catch-up", "--dry-run", "--json", env=env).json["recovered"] == 1
