"""Dead letters: looked at without a trace, sent back so that nothing goes out twice, thrown away when told to."""

from __future__ import annotations

import json
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

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

DEAD = "sms.dead"


@pytest.fixture
def settings(env: Mapping[str, str]) -> dict[str, str]:
    """Return a bridge that reconciles within a second and gives up at its first failure."""
    return {
        **env,
        "BRIDGE_RECONCILE__SETTLE": "1",
        "BRIDGE_RETRY__MAX_AGE": "0",
        "BRIDGE_RETRY__IN_PROCESS": "0",
        "BRIDGE_BROKER__HEARTBEAT": "60",
    }


class Operator:
    """Runs `bridge dead` with a configuration."""

    def __init__(self, start: StartBridge, env: Mapping[str, str]) -> None:
        self._start = start
        self._env = env

    def __call__(self, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
        """Return what it printed as JSON."""
        process = self._start("dead", *arguments, "--json", env=self._env, ready=False)

        assert process.wait() == code, process.logs
        printed: list[dict[str, Any]] = json.loads(process.stdout or "[]")
        return printed


@pytest.fixture
def dead(bridge_process: StartBridge, settings: Mapping[str, str]) -> Operator:
    """Run `bridge dead`."""
    return Operator(bridge_process, settings)


def body(id: str, to: object = "+16131234567", **fields: object) -> bytes:  # noqa: A002 - the field's name
    # Spaces and key order are the publisher's own: byte for byte means these too.
    document = {"message": f"canary <{id}>", "id": id, "destination_address": to, "x": 1, **fields}
    return json.dumps(document, indent=1).encode()


def outcome(amqp: BrokerClient, within: float = 20) -> dict[str, Any]:
    """Return the next outcome; deferred events are passed over."""
    while True:
        (event,) = amqp.events(1, within=within)
        if event["type"] != "sms.outbound.deferred":
            return dict(event)


def letters(amqp: BrokerClient, number: int) -> None:
    """Wait until so many dead letters lie there."""
    wait_until(lambda: amqp.depth(DEAD) == number, what=f"{number} dead letters")


def idle(amqp: BrokerClient) -> None:
    """Wait until the worker has settled all it took."""
    wait_until(lambda: amqp.depth("sms.send") == 0, what="an empty command queue")


REFUSAL = {
    "name": "status",
    "status": 400,
    "body": {"requestError": {"serviceException": {"messageId": "SVC0002", "text": "no %1"}}},
}
BUSY = {"name": "status", "status": 503, "retry_after": 0}


@pytest.mark.parametrize(
    ("fault", "ended", "reason"), [(REFUSAL, "rejected", "SVC0002"), (BUSY, "failed", "http")]
)
def test_what_was_not_sent_is_sent_by_a_replay_under_a_new_event_id(
    fault: object,
    ended: str,
    reason: str,
    bridge_process: StartBridge,
    settings: Mapping[str, str],
    provider: Provider,
    amqp: BrokerClient,
    dead: Operator,
) -> None:
    bridge_process("worker", env=settings)
    provider.faults(fault)
    amqp.publish(body("one"), message_id="m-1", correlation_id="c-1", app_id="shop", headers={"own": "yes"})
    first = outcome(amqp)
    letters(amqp, 1)
    (listed,) = dead("list")
    (replayed,) = dead("replay", "--all")
    second = outcome(amqp)

    assert first["type"] == f"sms.outbound.{ended}"
    assert (listed["outcome"], listed["reason"], listed["index"]) == (ended, reason, 0)
    assert (listed["event_id"], replayed["event_id"]) == (first["id"], first["id"])
    assert (second["type"], second["id"]) == ("sms.outbound.sent", event_id("outcome", "one", 0, 1))
    assert provider.texts() == ["canary <one>"]
    assert amqp.depth(DEAD) == 0


def test_a_letter_goes_back_byte_for_byte_with_its_own_properties_and_headers(
    bridge_process: StartBridge,
    settings: Mapping[str, str],
    provider: Provider,
    amqp: BrokerClient,
    dead: Operator,
) -> None:
    worker = bridge_process("worker", env=settings)
    provider.faults(REFUSAL)
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
    amqp.publish(raw, headers={"own": [1, {"a": "b"}], "traceparent": traceparent}, **properties)
    ended = outcome(amqp)
    letters(amqp, 1)
    worker.stop()
    dead("replay", ended["id"], "--resend")
    (back,) = amqp.take("sms.send")

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


def test_an_unknown_one_is_reconciled_and_sent_anew_only_when_told_to(
    bridge_process: StartBridge,
    settings: Mapping[str, str],
    provider: Provider,
    amqp: BrokerClient,
    dead: Operator,
) -> None:
    bridge_process("worker", env={**settings, "BRIDGE_RECONCILE__ON_ABSENT": "park"})
    provider.settings(lag=600)
    provider.faults({"name": "drop", "text": "<absent>"}, {"name": "accept-drop", "text": "<late>"})
    amqp.publish(body("absent"))
    amqp.publish(body("late"))
    parked = {event["subject"]: event for event in (outcome(amqp), outcome(amqp))}
    letters(amqp, 2)
    provider.settings(lag=0)
    dead("replay", "--id", "late")
    found = outcome(amqp)
    dead("replay", "--id", "absent")
    again = outcome(amqp)
    letters(amqp, 1)
    dead("replay", "--id", "absent", "--resend")
    sent = outcome(amqp)

    assert {event["type"] for event in parked.values()} == {"sms.outbound.unknown"}
    assert (found["type"], found["data"]["reconciled"]) == ("sms.outbound.sent", True)
    assert found["id"] == event_id("outcome", "late", 0, 1)
    assert (again["type"], again["id"]) == ("sms.outbound.unknown", event_id("outcome", "absent", 0, 1))
    assert (sent["type"], sent["id"]) == ("sms.outbound.sent", event_id("outcome", "absent", 0, 2))
    assert sorted(provider.texts()) == ["canary <absent>", "canary <late>"]


def test_two_copies_of_a_letter_send_once_and_what_was_sent_is_never_sent_again(
    bridge_process: StartBridge,
    settings: Mapping[str, str],
    provider: Provider,
    amqp: BrokerClient,
    dead: Operator,
) -> None:
    bridge_process("worker", env=settings)
    provider.faults(REFUSAL)
    amqp.publish(body("one"))
    outcome(amqp)
    letters(amqp, 1)
    (letter,) = amqp.dead()
    for _ in range(3):
        _put_back(amqp, letter)
    letters(amqp, 3)
    first = dead("replay", "--limit", "2")
    told = [outcome(amqp), outcome(amqp)]
    third = dead("replay", "--all", "--resend")
    told.append(outcome(amqp))

    assert (len(first), len(third)) == (2, 1)
    assert {(event["type"], event["id"]) for event in told} == {
        ("sms.outbound.sent", event_id("outcome", "one", 0, 1))
    }
    assert provider.texts() == ["canary <one>"]


def test_of_a_command_to_many_only_the_one_whose_letter_it_is_is_sent_anew(
    bridge_process: StartBridge,
    settings: Mapping[str, str],
    provider: Provider,
    amqp: BrokerClient,
    dead: Operator,
) -> None:
    bridge_process("worker", env=settings)
    numbers = [f"+161312345{last}" for last in (60, 61, 62)]
    provider.faults(REFUSAL, REFUSAL)
    amqp.publish(body("many", numbers))
    ended = {event["data"]["index"]: event for event in (outcome(amqp), outcome(amqp), outcome(amqp))}
    rejected = sorted(index for index, event in ended.items() if event["type"] == "sms.outbound.rejected")
    letters(amqp, 2)
    dead("replay", ended[rejected[0]]["id"])
    wait_until(lambda: len(provider.journal()) == 2, what="the second send")
    told = [outcome(amqp) for _ in numbers]
    (left,) = dead("list")

    assert len(rejected) == 2
    assert left["index"] == rejected[1]
    # The others are told again as they were, which consumers know by their ids.
    assert {event["id"] for event in told} == {
        ended[rejected[1]]["id"],
        event_id("outcome", "many", rejected[0], 1),
        *(event["id"] for index, event in ended.items() if index not in rejected),
    }
    sent = [entry["destination_address"] for entry in provider.journal()]
    assert sorted(sent) == [number for index, number in enumerate(numbers) if index != rejected[1]]


def test_an_invalid_command_is_taken_as_new_by_a_bridge_that_can_read_it(
    bridge_process: StartBridge,
    settings: Mapping[str, str],
    provider: Provider,
    amqp: BrokerClient,
    dead: Operator,
) -> None:
    strict = bridge_process("worker", env={**settings, "BRIDGE_COMMANDS__MAX_DESTINATIONS": "1"})
    amqp.publish(body("many", ["+16131234567", "+16131234568"]))
    invalid = outcome(amqp)
    letters(amqp, 1)
    strict.stop()
    dead("replay", "--outcome", "invalid", "--yes")
    bridge_process("worker", env=settings)
    sent = [outcome(amqp), outcome(amqp)]

    assert invalid["type"] == "sms.outbound.invalid"
    assert {event["id"] for event in sent} == {event_id("outcome", "many", index, 0) for index in (0, 1)}
    assert len(provider.journal()) == 2


def test_what_the_broker_gives_up_has_an_outcome_and_is_sent_back(
    bridge_process: StartBridge,
    settings: Mapping[str, str],
    provider: Provider,
    amqp: BrokerClient,
    dead: Operator,
    rabbitmq: Broker,
    vhost: str,
) -> None:
    limited = {**settings, "BRIDGE_BROKER__DELIVERY_LIMIT": "1"}
    bridge_process("topology", "declare", env=limited, ready=False).wait()
    amqp.publish(body("poor"), message_id="m-1")
    for _ in range(2):
        with amqp.channel() as channel:
            wait_until(lambda: channel.basic_get("sms.send"), what="the command")
        amqp.close()
    amqp.publish(body("late"), expiration="1")
    wait_until(lambda: amqp.depth("sms.given_up") == 2, what="both with the broker")
    rabbitmq.ctl(
        "set_policy", "-p", vhost, "--apply-to", "queues", "ttl", r"^sms\.send$", '{"message-ttl": 1}'
    )
    amqp.publish(body("policy"))
    wait_until(lambda: amqp.depth("sms.given_up") == 3, what="all with the broker")
    rabbitmq.ctl("clear_policy", "-p", vhost, "ttl")
    worker = bridge_process("worker", env=limited)
    ended = {event["subject"]: event for event in (outcome(amqp) for _ in range(3))}
    letters(amqp, 3)
    listed = {letter["command_id"]: letter for letter in dead("list", "--since", "1h")}
    before = provider.texts()
    dead("replay", "--all")
    sent = {event["subject"]: event for event in (outcome(amqp) for _ in range(3))}

    assert {name: event["type"].rpartition(".")[2] for name, event in ended.items()} == {
        "poor": "failed", "late": "expired", "policy": "expired"
    }  # fmt: skip
    assert {name: event["id"] for name, event in ended.items()} == {
        name: letter["event_id"] for name, letter in listed.items()
    }
    assert listed["poor"]["reason"] == "delivery_limit"
    assert before == []
    assert {event["type"] for event in sent.values()} == {"sms.outbound.sent"}
    assert sorted(provider.texts()) == ["canary <late>", "canary <policy>", "canary <poor>"]
    assert worker.logs.count("command.given_up") == 3


def test_a_dead_letter_that_is_moved_to_the_command_queue_returns(
    bridge_process: StartBridge,
    settings: Mapping[str, str],
    provider: Provider,
    amqp: BrokerClient,
    dead: Operator,
) -> None:
    worker = bridge_process("worker", env=settings)
    provider.faults(REFUSAL)
    amqp.publish(body("one"), message_id="m-1")
    first = outcome(amqp)
    (letter,) = amqp.take(DEAD)
    # As a shovel or the management page moves it.
    amqp.publish(
        letter.body, exchange="", routing_key="sms.send", headers=letter.headers, **letter.properties
    )
    letters(amqp, 1)
    idle(amqp)
    returned = worker.logs
    dead("replay", "--all")
    (event,) = amqp.events(1)

    assert "dead_letter.returned" in returned
    assert "bridge dead replay" in returned
    # No event came between.
    assert (event["type"], event["id"]) == ("sms.outbound.sent", event_id("outcome", "one", 0, 1))
    assert first["type"] == "sms.outbound.rejected"
    assert provider.texts() == ["canary <one>"]


def test_looking_leaves_the_queue_as_it_was_and_shows_neither_text_nor_number(
    bridge_process: StartBridge,
    settings: Mapping[str, str],
    provider: Provider,
    amqp: BrokerClient,
    dead: Operator,
) -> None:
    bridge_process("worker", env=settings)
    provider.faults(REFUSAL, {"name": "status", "status": 403})
    ids = []
    for number, sender in (("1", "+16139998877"), ("2", "+16139998878")):
        amqp.publish(body(number, sender_address=sender))
        ids.append(outcome(amqp)["id"])
    letters(amqp, 2)
    first, second = dead("list"), dead("list")
    by_sender = dead("list", "--sender", "tel:+1-613-999-8878")
    by_reason = dead("replay", "--reason", "svc", "--dry-run")
    by_time = dead("list", "--before", "1h")
    (shown,) = dead("show", ids[0])
    dead("show", "nobody", code=1)
    dead("replay", "nobody", code=1)
    dead("replay", code=2)
    dead("purge", code=2)
    letters(amqp, 2)

    assert [letter["event_id"] for letter in first] == ids
    assert first == second
    assert [letter["command_id"] for letter in by_sender] == ["2"]
    assert by_sender[0]["sender_address"] == "***8878"
    assert [letter["command_id"] for letter in by_reason] == ["1"]
    assert by_time == []
    assert shown["destination_address"] == ["***4567"]
    assert provider.texts() == []


def test_show_in_full_shows_what_the_command_was(
    bridge_process: StartBridge, settings: Mapping[str, str], amqp: BrokerClient, provider: Provider
) -> None:
    bridge_process("worker", env=settings)
    raw = b'{ "id": "broken", "message": "hello", \xff'
    amqp.publish(raw, message_id="m-1")
    ended = outcome(amqp)
    letters(amqp, 1)
    shown = bridge_process("dead", "show", "m-1", "--full", "--json", env=settings, ready=False)

    assert shown.wait() == 0
    (letter,) = json.loads(shown.stdout)
    assert letter["event_id"] == ended["id"]
    assert letter["properties"]["message_id"] == "m-1"
    assert "body_base64" in letter


def test_purging_takes_what_is_meant_and_leaves_the_rest(
    bridge_process: StartBridge,
    settings: Mapping[str, str],
    amqp: BrokerClient,
    dead: Operator,
) -> None:
    bridge_process("worker", env=settings)
    for number in range(3):
        amqp.publish(b"not json %d" % number, message_id=f"m-{number}")
    letters(amqp, 3)
    dead("purge", "m-1", "--yes")
    left = [letter["command_id"] for letter in dead("list")]
    dead("purge", "--all", "--yes")
    letters(amqp, 0)

    assert left == ["m-0", "m-2"]


def _put_back(amqp: BrokerClient, letter: Message) -> None:
    properties = {key: value for key, value in letter.properties.items() if key != "delivery_mode"}
    amqp.publish(letter.body, exchange="", routing_key=DEAD, headers=letter.headers, **properties)
