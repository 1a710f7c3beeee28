"""Every command ends in the event that the contract names, and in as many SMS as it asks for."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.bench import DESTINATION, body_of, running, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.bench import Running
    from tests.harness.broker import Broker

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

#: Every key of an outcome's data (SPEC section 3.2).
KEYS = {
    "command_id", "index", "destination_address", "sender_address", "message", "delivery_status", "message_id",
    "attempts", "segments", "reconciled", "metadata", "error",
}  # fmt: skip
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#: Seconds a command may come back late (SPEC section 3), and what a busy machine adds.
LATE = 2.0 + 3.0


@pytest.fixture(scope="module")
def bridge(rabbitmq: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run a worker for all tests here that need nothing else."""
    settings = {"CPAAS__READ_TIMEOUT": "1", "RETRY__BASE": "0.2", "RETRY__IN_PROCESS": "0"}
    with running(rabbitmq, tmp_path_factory.mktemp("sending"), **settings) as bench:
        yield bench


@pytest.fixture(scope="module")
def lenient(rabbitmq: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run a worker that is configured otherwise."""
    settings = {
        "COMMANDS__ALLOW_MISSING_ID": "true",
        "EVENTS__CAMEL_CASE": "true",
        "ADDRESSES__DEFAULT_REGION": "CA",
        "CPAAS__DEFAULT_SENDER": "+16139998878",
        "RETRY__MAX_AGE": "0.5",
        "RECONCILE__ON_ABSENT": "park",
        "RETRY__IN_PROCESS": "0",
    }
    with running(rabbitmq, tmp_path_factory.mktemp("lenient"), **settings) as bench:
        yield bench


def at(seconds: float) -> str:
    """Return a time so many seconds from now as RFC 3339."""
    return datetime.fromtimestamp(time.time() + seconds, UTC).isoformat()


# -- sent ------------------------------------------------------------------------------------------


def test_a_command_becomes_one_sms_and_one_event_that_says_all_of_it(bridge: Running) -> None:
    headers = {"traceparent": TRACEPARENT}
    bridge.amqp.publish(body_of("plain", metadata={"tenant": "a"}), headers=headers)
    (event,) = bridge.outcomes("plain")
    bridge.settled()

    (sent,) = [entry for entry in bridge.provider.journal() if entry["message"] == text_of("plain")]
    data = event.json["data"]
    assert {
        "command_id": "plain",
        "index": 0,
        "destination_address": DESTINATION,
        "sender_address": "+16139998877",
        "message": text_of("plain"),
        "delivery_status": data["delivery_status"],
        "message_id": sent["message_id"],
        "attempts": 1,
        "segments": 1,
        "reconciled": False,
        "metadata": {"tenant": "a"},
        "error": None,
    } == data
    assert event.json["traceparent"] == TRACEPARENT
    assert tuple(event.json[key] for key in ("subject", "source", "specversion")) == (
        "plain",
        "/sms-bridge/sms",
        "1.0",
    )
    assert ("sms.outbound.sent", event.json["type"]) == (event.json["type"], event.routing_key)
    properties = event.properties
    assert (event.json["id"], "plain", event.json["type"], "application/cloudevents+json", 2) == tuple(
        properties[key] for key in ("message_id", "correlation_id", "type", "content_type", "delivery_mode")
    )
    assert bridge.steps("plain") == ["sent"]
    assert (sent["destination_address"], sent["sender_address"]) == (DESTINATION, "+16139998877")


def test_every_form_of_an_address_is_taken_and_each_destination_has_an_outcome(bridge: Running) -> None:
    written = [
        "+16135550101", "6135550102", "tel:+1-613-555-0103", "sip:+16135550104@example.com",
        "sip:6135550105@example.com",
    ]  # fmt: skip
    bridge.send("forms", destination_address=written, sender_address="tel:+16139998878")
    outcomes = bridge.outcomes("forms", len(written))

    found = {data["index"]: data["destination_address"] for data in (m.json["data"] for m in outcomes)}
    numbers = ["+16135550101", "6135550102", "+16135550103", "+16135550104", "6135550105"]
    assert dict(enumerate(numbers)) == found
    assert {"sms.outbound.sent"} == {message.routing_key for message in outcomes}
    assert {"+16139998878"} == {message.json["data"]["sender_address"] for message in outcomes}
    assert len(written) == bridge.sms("forms") == len({message.json["id"] for message in outcomes})


@pytest.mark.parametrize(
    ("text", "segments"), [("canary " + "a" * 154, 2), ("canary \N{SNOWMAN}", 1), ("canary €" + "a" * 153, 2)]
)
def test_the_event_says_in_how_many_segments_a_text_goes(bridge: Running, text: str, segments: int) -> None:
    command_id = f"segments {segments} {len(text)} {text[7]!a}"
    bridge.send(command_id, message=text)
    word, data = bridge.outcome(command_id)

    assert ("sent", segments, text) == (word, data["segments"], data["message"])
    assert text in bridge.provider.texts()


# -- the other outcomes ----------------------------------------------------------------------------


def test_undeliverable_destination_is_undeliverable_and_leaves_no_dead_letter(bridge: Running) -> None:
    body = bridge.send("impossible", destination_address="+18885550100")
    word, data = bridge.outcome("impossible")
    bridge.settled()

    assert (word, data["delivery_status"]) == ("undeliverable", "DeliveryImpossible")
    assert body not in [message.body for message in bridge.dead.look()]


@pytest.mark.parametrize(
    ("command_id", "fields", "status"),
    [
        ("foreign", {"sender_address": "+16135550199"}, 403),
        ("refused", {"destination_address": "+19995550100"}, 400),
    ],
)
def test_permanent_refusal_of_the_provider_is_rejected(
    bridge: Running, command_id: str, fields: dict[str, str], status: int
) -> None:
    body = body_of(command_id, **fields)
    headers = {"traceparent": TRACEPARENT, "x-tenant": "a", "x-bridge-token-like": 7}
    own: dict[str, Any] = {
        "content_type": "text/plain",
        "correlation_id": "c-1",
        "priority": 3,
        "app_id": "shop",
        "type": "t",
    }
    bridge.amqp.publish(body, headers=headers, **own)
    word, data = bridge.outcome(command_id)
    (letter,) = bridge.letters(body)
    bridge.settled()

    assert ("rejected", status, 1) == (word, data["error"]["http_status"], data["attempts"])
    assert data["error"]["exception_id"] == letter.headers["x-bridge-reason"]
    assert own == {key: letter.properties[key] for key in own}
    assert headers == {key: letter.headers[key] for key in headers}
    assert ("rejected", command_id, 0, 1) == tuple(
        letter.headers[f"x-bridge-{name}"] for name in ("outcome", "command-id", "index", "attempts")
    )
    assert bridge.outcomes(command_id)[0].json["id"] == letter.headers["x-bridge-event-id"]
    assert datetime.fromisoformat(letter.headers["x-bridge-dead-at"]).tzinfo is not None
    assert len(bridge.letters(body)) == 1
    assert bridge.sms(command_id) == 0


def test_command_past_its_expiry_is_expired_and_leaves_no_dead_letter(bridge: Running) -> None:
    body = bridge.send("late", expires_at=at(-1))
    word, data = bridge.outcome("late")
    bridge.settled()

    assert (word, data["attempts"], bridge.sms("late")) == ("expired", 0, 0)
    assert data.keys() == KEYS
    assert body not in [message.body for message in bridge.dead.look()]


def test_command_that_expires_during_retries_is_expired(bridge: Running) -> None:
    bridge.provider.faults(
        {"name": "status", "status": 503, "retry_after": 30, "text": text_of("otp"), "times": 5}
    )
    expires = time.time() + 1.5
    bridge.send("otp", expires_at=at(1.5))
    word, data = bridge.outcome("otp", within=1.5 + LATE + 2)

    assert (word, data["attempts"], bridge.sms("otp")) == ("expired", 1, 0)
    assert expires - 0.1 <= time.time()


AMBIGUOUS: list[dict[str, Any]] = [
    {"name": "accept-hang"}, {"name": "accept-drop"}, {"name": "accept-500"}, {"name": "accept-truncate"},
    {"name": "accept-garbage"}, {"name": "drop"}, {"name": "reset"}, {"name": "hang"},
    {"name": "status", "status": 500}, {"name": "status", "status": 409}, {"name": "status", "status": 503},
]  # fmt: skip


def test_an_ambiguous_attempt_is_reconciled_and_sent_once(bridge: Running) -> None:
    ids = {f"ambiguous {number}": fault for number, fault in enumerate(AMBIGUOUS)}
    bridge.provider.faults(*(fault | {"text": text_of(command_id)} for command_id, fault in ids.items()))
    for command_id in ids:
        bridge.send(command_id)
    outcomes = {command_id: bridge.outcome(command_id, within=60) for command_id in ids}
    bridge.settled()

    assert dict.fromkeys(ids, "sent") == {command_id: word for command_id, (word, _) in outcomes.items()}
    assert dict.fromkeys(ids, 1) == {command_id: bridge.sms(command_id) for command_id in ids}
    assert {command_id: fault["name"].startswith("accept") for command_id, fault in ids.items()} == {
        command_id: data["reconciled"] for command_id, (_, data) in outcomes.items()
    }
    assert {"deferred"} == {bridge.steps(command_id)[0] for command_id in ids}


def test_command_in_doubt_is_unknown_where_on_absent_is_park(lenient: Running) -> None:
    lenient.provider.faults({"name": "drop", "text": text_of("parked")})
    body = lenient.send("parked")
    word, data = lenient.outcome("parked", within=30)

    assert (word, data["attempts"], lenient.sms("parked")) == ("unknown", 1, 0)
    (letter,) = lenient.letters(body)
    assert tuple(letter.headers[f"x-bridge-{name}"] for name in ("outcome", "attempts", "index")) == (
        "unknown",
        1,
        0,
    )


@pytest.mark.parametrize(
    ("command_id", "fault"),
    [
        ("unavailable", {"name": "status", "status": 503, "retry_after": 1}),
        ("throttled", {"name": "status", "status": 429, "retry_after": 1}),
        ("page", {"name": "status", "status": 404, "body": "<html>not the provider</html>"}),
        ("proxy", {"name": "status", "status": 407, "body": "<html>who are you?</html>"}),
    ],
)
def test_unsent_command_is_deferred_and_sent_when_the_provider_is_back(
    bridge: Running, command_id: str, fault: dict[str, object]
) -> None:
    bridge.provider.faults(fault | {"text": text_of(command_id)})
    started = time.time()
    body = bridge.send(command_id)
    word, data = bridge.outcome(command_id)
    bridge.settled()

    assert (word, data["attempts"], bridge.sms(command_id)) == ("sent", 2, 1)
    assert bridge.steps(command_id) == ["deferred", "sent"]
    (deferred,) = [
        m
        for m in bridge.events.look()
        if m.routing_key.endswith("deferred") and m.json["subject"] == command_id
    ]
    retry_at = datetime.fromisoformat(deferred.json["data"]["retry_at"]).timestamp()
    assert KEYS | {"retry_at"} == deferred.json["data"].keys()
    assert (1, fault["status"]) == (
        deferred.json["data"]["attempts"], deferred.json["data"]["error"]["http_status"],
    )  # fmt: skip
    assert started + (1 if "retry_after" in fault else 0) <= retry_at
    (sent,) = [entry for entry in bridge.provider.journal() if entry["message"] == text_of(command_id)]
    assert retry_at <= sent["accepted_at"] / 1000 + 0.01
    assert body not in [message.body for message in bridge.dead.look()]


def test_a_command_is_sent_at_its_time_and_neither_before_nor_much_later(bridge: Running) -> None:
    due = time.time() + 2.4
    bridge.send("timed", send_at=datetime.fromtimestamp(due, UTC).isoformat())
    bridge.outcome("timed", within=2.4 + LATE)

    (sent,) = [entry for entry in bridge.provider.journal() if entry["message"] == text_of("timed")]
    assert due <= sent["accepted_at"] / 1000 + 0.001
    assert sent["accepted_at"] / 1000 <= due + LATE
    assert bridge.steps("timed") == ["sent"]


def test_a_command_is_late_by_when_it_was_to_go_out_and_not_by_when_it_was_published(bridge: Running) -> None:
    def in_time() -> float:
        bucket = r'^sms_bridge_command_age_at_call_seconds_bucket\{le="300.0"\} (\S+)$'
        (number,) = re.findall(bucket, bridge.worker.admin("/metrics")[1], re.MULTILINE)
        return float(number)

    before = in_time()
    bridge.amqp.publish(body_of("meant for now", send_at=at(0)), timestamp=int(time.time()) - 3600)
    bridge.outcome("meant for now")

    assert in_time() == before + 1


# -- invalid ---------------------------------------------------------------------------------------

#: One mistake of each kind; `tests/unit/test_commands.py` has all of them.
INVALID: dict[str, dict[str, Any]] = {
    "no destination": {"destination_address": None},
    "one bad destination": {"destination_address": [DESTINATION, "613 555 0123"]},
    "half a surrogate": {"message": "canary \ud800"},
    "expires first": {"send_at": at(20), "expires_at": at(10)},
}


def test_invalid_command_has_one_event_and_one_dead_letter(bridge: Running) -> None:
    before = bridge.provider.stats()["sends"]
    bodies = {command_id: bridge.send(command_id, **fields) for command_id, fields in INVALID.items()}
    outcomes = {command_id: bridge.outcome(command_id) for command_id in INVALID}
    letters = {command_id: bridge.letters(body) for command_id, body in bodies.items()}
    bridge.settled()

    assert {"invalid"} == {word for word, _ in outcomes.values()}
    assert {(None, 0, "invalid")} == {
        (data["index"], data["attempts"], data["error"]["name"]) for _, data in outcomes.values()
    }
    assert all(data.keys() == KEYS for _, data in outcomes.values())
    for command_id, (letter,) in letters.items():
        assert ("invalid", command_id) == (
            letter.headers["x-bridge-outcome"], letter.headers["x-bridge-command-id"],
        )  # fmt: skip
        assert "x-bridge-index" not in letter.headers
        assert outcomes[command_id][1]["error"]["message"][:500] == letter.headers["x-bridge-reason"]
    assert before == bridge.provider.stats()["sends"]


def test_an_invalid_command_leaves_its_id_free(bridge: Running) -> None:
    bridge.send("second try", message="")
    bridge.outcome("second try")
    bridge.send("second try")
    outcomes = bridge.outcomes("second try", 2)

    assert [message.routing_key for message in outcomes] == ["sms.outbound.invalid", "sms.outbound.sent"]


# -- replies ---------------------------------------------------------------------------------------


def test_each_outcome_is_sent_to_the_reply_queue_as_well(bridge: Running) -> None:
    queue = bridge.amqp.declare_queue("replies")
    destinations = ["+16135550111", "+19995550112"]
    bridge.amqp.publish(
        body_of("asked", destination_address=destinations), reply_to=queue, correlation_id="question 7"
    )
    replies = bridge.amqp.take(queue, 2)
    outcomes = bridge.outcomes("asked", 2)

    assert {m.body for m in outcomes} == {m.body for m in replies}
    assert {"question 7"} == {m.properties["correlation_id"] for m in replies}
    assert {m.json["id"] for m in outcomes} == {m.properties["message_id"] for m in replies}


@pytest.mark.parametrize("queue", ["gone", "sms.send", "sms.dead", "sms.unrouted", "r" * 255])
def test_a_reply_that_has_no_place_never_holds_the_command(bridge: Running, queue: str) -> None:
    command_id = f"reply to {queue[:30]}"
    bridge.amqp.publish(body_of(command_id), reply_to=queue)
    word, _ = bridge.outcome(command_id)
    bridge.settled()

    assert (word, bridge.sms(command_id)) == ("sent", 1)
    assert 0 == bridge.amqp.depth("sms.send") == bridge.amqp.depth("sms.unrouted")
    assert not [m for m in bridge.dead.look() if m.properties.get("correlation_id") == command_id]


# -- otherwise by configuration --------------------------------------------------------------------


def test_a_command_without_an_id_is_taken_where_that_is_allowed(lenient: Running) -> None:
    lenient.amqp.publish({"destination_address": "6135550131", "message": "canary without an id."})
    (event,) = lenient.events.wait(lambda m: m.json["data"]["message"] == "canary without an id.")

    data = event.json["data"]
    assert event.json["type"] == "sms.outbound.sent"
    assert event.json["subject"] == data["commandId"] != ""
    assert (data["destinationAddress"], data["senderAddress"]) == ("+16135550131", "+16139998878")
    assert {"commandId", "destinationAddress", "messageId", "deliveryStatus", "error"} < data.keys()
    assert not [key for key in data if "_" in key]


def test_a_made_up_id_stays_the_same_through_the_delay(lenient: Running) -> None:
    text = "canary delayed without an id."
    lenient.amqp.publish({"destination_address": "6135550131", "message": text, "send_at": at(0.5)})
    lenient.events.wait(lambda m: m.json["data"]["message"] == text)
    lenient.settled()

    assert lenient.provider.texts().count(text) == 1


def test_command_beyond_max_age_is_failed_with_a_dead_letter(lenient: Running) -> None:
    fault = {"name": "status", "status": 503, "retry_after": 1, "times": 50, "text": text_of("given up")}
    lenient.provider.faults(fault)
    body = lenient.send("given up")
    word, data = lenient.outcome("given up")
    (letter,) = lenient.letters(body)
    lenient.settled()

    assert (word, data["error"]["httpStatus"], lenient.sms("given up")) == ("failed", 503, 0)
    assert data["attempts"] == letter.headers["x-bridge-attempts"] >= 2
    assert (letter.headers["x-bridge-outcome"], letter.headers["x-bridge-reason"]) == ("failed", "http")
    assert not {"x-death", "x-first-death-queue", "x-bridge-token"} & letter.headers.keys()
    assert lenient.steps("given up")[-1] == "failed"
    assert {"deferred"} == set(lenient.steps("given up")[:-1])


def test_copy_without_a_ledger_row_is_not_sent(lenient: Running) -> None:
    body = body_of("forged")
    lenient.amqp.publish(body, headers={"x-bridge-token": "3"})
    word, _ = lenient.outcome("forged", within=30)

    assert (word, lenient.sms("forged")) == ("unknown", 0)
    assert len(lenient.letters(body)) == 1
