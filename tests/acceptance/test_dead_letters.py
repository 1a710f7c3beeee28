"""Dead letters: listed without a change, replayed so that nothing is sent twice, and deleted on request."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from bridge.domain.events import event_id
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.acceptance.conftest import Provider
    from tests.conftest import StartBridge
    from tests.harness.broker import Broker
    from tests.harness.broker_client import BrokerClient, Message
    from tests.harness.processes import BridgeProcess

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

DEAD = "sms.dead"


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge, its broker and its provider, and an operator who runs `bridge dead`."""

    start: StartBridge
    env: Mapping[str, str]
    provider: Provider
    amqp: BrokerClient

    def worker(self, **changes: str) -> BridgeProcess:
        """Start a worker."""
        return self.start("worker", env={**self.env, **changes})

    def dead(self, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
        """Run `bridge dead`; return the JSON that it printed."""
        process = self.start("dead", *arguments, "--json", env=self.env, ready=False)

        assert process.wait() == code, process.logs
        printed: list[dict[str, Any]] = json.loads(process.stdout or "[]")
        return printed

    def outcome(self) -> dict[str, Any]:
        """Return the next outcome; deferred events are passed over."""
        while True:
            (event,) = self.amqp.events(1, within=20)
            if event["type"] != "sms.outbound.deferred":
                return dict(event)

    def letters(self, number: int) -> None:
        """Wait until so many dead letters are on the queue."""
        wait_until(lambda: self.amqp.depth(DEAD) == number, what=f"{number} dead letters")


@pytest.fixture
def bridge(
    bridge_process: StartBridge, env: Mapping[str, str], provider: Provider, amqp: BrokerClient
) -> Bridge:
    """Return a bridge that reconciles within a second and gives up at its first failure."""
    hurried = {
        "BRIDGE_RECONCILE__SETTLE": "1",
        "BRIDGE_RETRY__MAX_AGE": "0",
        "BRIDGE_RETRY__IN_PROCESS": "0",
        "BRIDGE_BROKER__HEARTBEAT": "60",
    }
    return Bridge(bridge_process, {**env, **hurried}, provider, amqp)


def body(id: str, to: object = "+16131234567", **fields: object) -> bytes:  # noqa: A002 - the field's name
    # Spaces and key order are the publisher's own: byte for byte means these too.
    document = {"message": f"canary <{id}>", "id": id, "destination_address": to, "x": 1, **fields}
    return json.dumps(document, indent=1).encode()


REFUSAL = {
    "name": "status",
    "status": 400,
    "body": {"requestError": {"serviceException": {"messageId": "SVC0002", "text": "no %1"}}},
}
BUSY = {"name": "status", "status": 503, "retry_after": 0}


@pytest.mark.parametrize(
    ("fault", "ended", "reason"), [(REFUSAL, "rejected", "SVC0002"), (BUSY, "failed", "http")]
)
def test_a_replay_of_an_unsent_command_sends_it_under_a_new_event_id(
    fault: object, ended: str, reason: str, bridge: Bridge
) -> None:
    bridge.worker()
    bridge.provider.faults(fault)
    bridge.amqp.publish(
        body("one"), message_id="m-1", correlation_id="c-1", app_id="shop", headers={"own": "yes"}
    )
    first = bridge.outcome()
    bridge.letters(1)
    (listed,) = bridge.dead("list")
    (replayed,) = bridge.dead("replay", "--all")
    second = bridge.outcome()

    assert first["type"] == f"sms.outbound.{ended}"
    assert (listed["outcome"], listed["reason"], listed["index"]) == (ended, reason, 0)
    assert (listed["event_id"], replayed["event_id"]) == (first["id"], first["id"])
    assert (second["type"], second["id"]) == ("sms.outbound.sent", event_id("outcome", "one", 0, 1))
    assert bridge.provider.texts() == ["canary <one>"]
    assert bridge.amqp.depth(DEAD) == 0


def test_a_replay_publishes_the_letter_byte_for_byte_with_its_own_properties_and_headers(
    bridge: Bridge,
) -> None:
    worker = bridge.worker()
    bridge.provider.faults(REFUSAL)
    raw = body("one")
    properties: dict[str, Any] = {
        "message_id": "m-1",
        "correlation_id": "c-1",
        "app_id": "shop",
        "priority": 3,
        "type": "order",
        "content_type": "text/plain",
        "content_encoding": "utf-8",
        "timestamp": 1_700_000_000,
    }
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    bridge.amqp.publish(raw, headers={"own": [1, {"a": "b"}], "traceparent": traceparent}, **properties)
    ended = bridge.outcome()
    bridge.letters(1)
    worker.stop()
    bridge.dead("replay", ended["id"], "--resend")
    (back,) = bridge.amqp.take("sms.send")

    assert back.body == raw
    assert {key: value for key, value in back.properties.items() if key != "delivery_mode"} == properties
    assert back.properties["delivery_mode"] == 2
    assert {name: value for name, value in back.headers.items() if name != "x-delivery-count"} == {
        "own": [1, {"a": "b"}],
        "traceparent": traceparent,
        "x-bridge-replay": ended["id"],
        "x-bridge-resend": True,
    }
    assert (back.exchange, back.routing_key) == ("sms.commands", "send")


def test_a_replay_of_an_unknown_message_looks_it_up_and_sends_it_again_only_with_resend(
    bridge: Bridge,
) -> None:
    bridge.worker(BRIDGE_RECONCILE__ON_ABSENT="park")
    bridge.provider.settings(lag=600)
    bridge.provider.faults({"name": "drop", "text": "<absent>"}, {"name": "accept-drop", "text": "<late>"})
    bridge.amqp.publish(body("absent"))
    bridge.amqp.publish(body("late"))
    parked = {event["subject"]: event for event in (bridge.outcome(), bridge.outcome())}
    bridge.letters(2)
    bridge.provider.settings(lag=0)
    bridge.dead("replay", "--id", "late")
    found = bridge.outcome()
    bridge.dead("replay", "--id", "absent")
    again = bridge.outcome()
    bridge.letters(1)
    bridge.dead("replay", "--id", "absent", "--resend")
    sent = bridge.outcome()

    assert {event["type"] for event in parked.values()} == {"sms.outbound.unknown"}
    assert (found["type"], found["data"]["reconciled"]) == ("sms.outbound.sent", True)
    assert found["id"] == event_id("outcome", "late", 0, 1)
    assert (again["type"], again["id"]) == ("sms.outbound.unknown", event_id("outcome", "absent", 0, 1))
    assert (sent["type"], sent["id"]) == ("sms.outbound.sent", event_id("outcome", "absent", 0, 2))
    assert sorted(bridge.provider.texts()) == ["canary <absent>", "canary <late>"]


def test_copies_of_a_letter_are_sent_once_even_with_resend(bridge: Bridge) -> None:
    bridge.worker()
    bridge.provider.faults(REFUSAL)
    bridge.amqp.publish(body("one"))
    bridge.outcome()
    bridge.letters(1)
    (letter,) = bridge.amqp.dead()
    for _ in range(3):
        _put_back(bridge.amqp, letter)
    bridge.letters(3)
    first = bridge.dead("replay", "--limit", "2")
    published = [bridge.outcome(), bridge.outcome()]
    third = bridge.dead("replay", "--all", "--resend")
    published.append(bridge.outcome())

    assert (len(first), len(third)) == (2, 1)
    assert {(event["type"], event["id"]) for event in published} == {
        ("sms.outbound.sent", event_id("outcome", "one", 0, 1))
    }
    assert bridge.provider.texts() == ["canary <one>"]


def test_a_replay_sends_only_the_destination_of_its_letter(bridge: Bridge) -> None:
    bridge.worker()
    numbers = [f"+161312345{last}" for last in (60, 61, 62)]
    bridge.provider.faults(REFUSAL, REFUSAL)
    bridge.amqp.publish(body("many", numbers))
    ended = {
        event["data"]["index"]: event for event in (bridge.outcome(), bridge.outcome(), bridge.outcome())
    }
    rejected = sorted(index for index, event in ended.items() if event["type"] == "sms.outbound.rejected")
    bridge.letters(2)
    bridge.dead("replay", ended[rejected[0]]["id"])
    wait_until(lambda: len(bridge.provider.journal()) == 2, what="the second send")
    published = [bridge.outcome() for _ in numbers]
    (left,) = bridge.dead("list")

    assert len(rejected) == 2
    assert left["index"] == rejected[1]
    # The others are told again as they were, which consumers know by their ids.
    assert {event["id"] for event in published} == {
        ended[rejected[1]]["id"],
        event_id("outcome", "many", rejected[0], 1),
        *(event["id"] for index, event in ended.items() if index not in rejected),
    }
    sent = [entry["destination_address"] for entry in bridge.provider.journal()]
    assert sorted(sent) == [number for index, number in enumerate(numbers) if index != rejected[1]]


def test_a_replayed_invalid_command_is_new_to_a_bridge_that_can_read_it(bridge: Bridge) -> None:
    strict = bridge.worker(BRIDGE_COMMANDS__MAX_DESTINATIONS="1")
    bridge.amqp.publish(body("many", ["+16131234567", "+16131234568"]))
    invalid = bridge.outcome()
    bridge.letters(1)
    strict.stop()
    bridge.dead("replay", "--outcome", "invalid", "--yes")
    bridge.worker()
    sent = [bridge.outcome(), bridge.outcome()]

    assert invalid["type"] == "sms.outbound.invalid"
    assert {event["id"] for event in sent} == {event_id("outcome", "many", index, 0) for index in (0, 1)}
    assert len(bridge.provider.journal()) == 2


def test_a_command_dead_lettered_by_the_broker_has_an_outcome_and_can_be_replayed(
    rabbitmq: Broker, vhost: str, bridge: Bridge
) -> None:
    limit = {"BRIDGE_BROKER__DELIVERY_LIMIT": "1"}
    bridge.start("topology", "declare", env={**bridge.env, **limit}, ready=False).wait()
    bridge.amqp.publish(body("poor"), message_id="m-1")
    for _ in range(2):
        with bridge.amqp.channel() as channel:
            wait_until(lambda: channel.basic_get("sms.send"), what="the command")
        bridge.amqp.close()
    bridge.amqp.publish(body("late"), expiration="1")
    wait_until(lambda: bridge.amqp.depth("sms.given_up") == 2, what="both with the broker")
    rabbitmq.ctl(
        "set_policy", "-p", vhost, "--apply-to", "queues", "ttl", r"^sms\.send$", '{"message-ttl": 1}'
    )
    bridge.amqp.publish(body("policy"))
    wait_until(lambda: bridge.amqp.depth("sms.given_up") == 3, what="all with the broker")
    rabbitmq.ctl("clear_policy", "-p", vhost, "ttl")
    worker = bridge.worker(**limit)
    ended = {event["subject"]: event for event in (bridge.outcome() for _ in range(3))}
    bridge.letters(3)
    listed = {letter["command_id"]: letter for letter in bridge.dead("list", "--since", "1h")}
    before = bridge.provider.texts()
    bridge.dead("replay", "--all")
    sent = {event["subject"]: event for event in (bridge.outcome() for _ in range(3))}

    assert {name: event["type"].rpartition(".")[2] for name, event in ended.items()} == {
        "poor": "failed", "late": "expired", "policy": "expired"
    }  # fmt: skip
    assert {name: event["id"] for name, event in ended.items()} == {
        name: letter["event_id"] for name, letter in listed.items()
    }
    assert listed["poor"]["reason"] == "delivery_limit"
    assert before == []
    assert {event["type"] for event in sent.values()} == {"sms.outbound.sent"}
    assert sorted(bridge.provider.texts()) == ["canary <late>", "canary <policy>", "canary <poor>"]
    assert worker.logs.count("command.given_up") == 3


def test_a_dead_letter_moved_to_the_command_queue_by_hand_is_dead_lettered_again(bridge: Bridge) -> None:
    worker = bridge.worker()
    bridge.provider.faults(REFUSAL)
    bridge.amqp.publish(body("one"), message_id="m-1")
    first = bridge.outcome()
    (letter,) = bridge.amqp.take(DEAD)
    # As a shovel or the management page moves it.
    bridge.amqp.publish(
        letter.body, exchange="", routing_key="sms.send", headers=letter.headers, **letter.properties
    )
    bridge.letters(1)
    wait_until(lambda: bridge.amqp.depth("sms.send") == 0, what="an empty command queue")
    returned = worker.logs
    bridge.dead("replay", "--all")
    (event,) = bridge.amqp.events(1)

    assert "dead_letter.returned" in returned
    assert "bridge dead replay" in returned
    # No event came between.
    assert (event["type"], event["id"]) == ("sms.outbound.sent", event_id("outcome", "one", 0, 1))
    assert first["type"] == "sms.outbound.rejected"
    assert bridge.provider.texts() == ["canary <one>"]


def test_list_and_show_change_nothing_and_mask_texts_and_numbers(bridge: Bridge) -> None:
    bridge.worker()
    bridge.provider.faults(REFUSAL, {"name": "status", "status": 403})
    ids = []
    for number, sender in (("1", "+16139998877"), ("2", "+16139998878")):
        bridge.amqp.publish(body(number, sender_address=sender))
        ids.append(bridge.outcome()["id"])
    bridge.letters(2)
    first, second = bridge.dead("list"), bridge.dead("list")
    by_sender = bridge.dead("list", "--sender", "tel:+1-613-999-8878")
    by_reason = bridge.dead("replay", "--reason", "svc", "--dry-run")
    by_time = bridge.dead("list", "--before", "1h")
    (shown,) = bridge.dead("show", ids[0])
    bridge.dead("show", "nobody", code=1)
    bridge.dead("replay", "nobody", code=1)
    bridge.dead("replay", code=2)
    bridge.dead("purge", code=2)
    bridge.letters(2)

    assert [letter["event_id"] for letter in first] == ids
    assert first == second
    assert [letter["command_id"] for letter in by_sender] == ["2"]
    assert by_sender[0]["sender_address"] == "***8878"
    assert [letter["command_id"] for letter in by_reason] == ["1"]
    assert by_time == []
    assert shown["destination_address"] == ["***4567"]
    assert bridge.provider.texts() == []


def test_show_full_prints_the_body_of_the_command(bridge: Bridge) -> None:
    bridge.worker()
    raw = b'{ "id": "broken", "message": "hello", \xff'
    bridge.amqp.publish(raw, message_id="m-1")
    ended = bridge.outcome()
    bridge.letters(1)
    shown = bridge.start("dead", "show", "m-1", "--full", "--json", env=bridge.env, ready=False)

    assert shown.wait() == 0
    (letter,) = json.loads(shown.stdout)
    assert letter["event_id"] == ended["id"]
    assert letter["properties"]["message_id"] == "m-1"
    assert "body_base64" in letter


def test_purge_deletes_only_the_selected_letters(bridge: Bridge) -> None:
    bridge.worker()
    for number in range(3):
        bridge.amqp.publish(b"not json %d" % number, message_id=f"m-{number}")
    bridge.letters(3)
    bridge.dead("purge", "m-1", "--yes")
    left = [letter["command_id"] for letter in bridge.dead("list")]
    bridge.dead("purge", "--all", "--yes")
    bridge.letters(0)

    assert left == ["m-0", "m-2"]


def _put_back(amqp: BrokerClient, letter: Message) -> None:
    properties = {key: value for key, value in letter.properties.items() if key != "delivery_mode"}
    amqp.publish(letter.body, exchange="", routing_key=DEAD, headers=letter.headers, **properties)
