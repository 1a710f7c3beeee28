"""Messages made from a delivered command: replies, dead letters and delayed copies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.commands import CommandRules, Malformed, SendSms
from bridge.domain.deliveries import (
    TOKEN,
    Death,
    Received,
    conflicting,
    dead_letter,
    delayed_copy,
    read,
    reply,
)
from bridge.domain.events import CONTENT_TYPE, Event
from bridge.domain.messages import Delivery, Outgoing

NOW = 1_800_000_000.0
BODY = b'{"id": "order-17",  "destination_address": "+16131234567", "message": "h\xc3\xa9"}\n'
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OWN_PROPERTIES = {
    "message_id": "m-1",
    "correlation_id": "c-1",
    "reply_to": "answers",
    "app_id": "shop",
    "type": "send-sms",
    "priority": 3,
    "timestamp": 1_700_000_000,
    "content_encoding": "utf-8",
}
OWN_HEADERS = {"traceparent": TRACEPARENT, "x-tenant": "7", "cc": "mine"}
BROKERS_HEADERS = {
    "x-death": [{"count": 1}],
    "x-first-death-queue": "q",
    "x-first-death-reason": "expired",
    "x-first-death-exchange": "e",
    "x-last-death-queue": "q",
    "x-delivery-count": 4,
    "x-acquired-count": 5,
    "CC": ["elsewhere"],
    "BCC": ["elsewhere"],
}
DEATH = Death(
    outcome="failed",
    reason="SVC0002",
    command_id="order-17",
    index=0,
    attempts=3,
    event_id="e-1",
    at=NOW,
)
EVENT = Event(id="e-1", type="sms.outbound.sent", subject="order-17", body=b'{"id":"e-1"}')


def received(
    *, body: bytes = BODY, properties: dict[str, Any] | None = None, headers: dict[str, Any] | None = None
) -> Received:
    delivery = Delivery(
        body=body,
        tag=(1, 1),
        properties=OWN_PROPERTIES if properties is None else properties,
        headers=OWN_HEADERS if headers is None else headers,
    )
    return read(delivery, rules=CommandRules(), now=NOW, new_id=lambda: "spare")


def burdened() -> Received:
    """Return a delivery with everything that the broker may attach."""
    properties = {
        **OWN_PROPERTIES,
        "expiration": "1000",
        "user_id": "guest",
        "cluster_id": "c",
        "delivery_mode": 1,
        "content_type": "text/plain",
        "application_headers": {"x": "y"},
    }
    return received(properties=properties, headers={**OWN_HEADERS, **BROKERS_HEADERS, TOKEN: "4"})


def delayed(of: Received, version: int = 5) -> Outgoing:
    return delayed_copy(of, version, exchange="sms.commands", routing_key="send", delay=30)


def answer(
    of: Received, *, own_queues: frozenset[str] = frozenset({"sms.send", "sms.dead"})
) -> Outgoing | None:
    return reply(of, EVENT, CONTENT_TYPE, own_queues=own_queues)


# --- copies ----------------------------------------------------------------------------------------------------------


def test_dead_letter_is_the_command_byte_for_byte_with_its_own_properties() -> None:
    letter = dead_letter(burdened(), DEATH, dead_queue="sms.dead")

    assert (letter.exchange, letter.routing_key) == ("", "sms.dead")
    assert letter.body == BODY
    assert letter.properties == OWN_PROPERTIES
    assert letter.content_type == "text/plain"
    assert not letter.droppable
    assert letter.delay is None


def test_dead_letter_has_the_reason_and_no_headers_of_the_broker() -> None:
    letter = dead_letter(burdened(), DEATH, dead_queue="sms.dead")

    assert letter.headers == {
        **OWN_HEADERS,
        "x-bridge-outcome": "failed",
        "x-bridge-reason": "SVC0002",
        "x-bridge-command-id": "order-17",
        "x-bridge-index": 0,
        "x-bridge-attempts": 3,
        "x-bridge-event-id": "e-1",
        "x-bridge-dead-at": "2027-01-15T08:00:00.000Z",
    }


def test_delayed_copy_is_the_command_byte_for_byte_with_a_new_version() -> None:
    copy = delayed(burdened())

    assert (copy.exchange, copy.routing_key, copy.delay) == ("sms.commands", "send", 30)
    assert copy.body == BODY
    assert copy.properties == OWN_PROPERTIES
    assert copy.headers == {**OWN_HEADERS, TOKEN: "5"}
    assert not copy.droppable


def test_properties_for_which_the_broker_closes_the_channel_are_not_copied() -> None:
    properties = {"message_id": "m-1", "reply_to": "amq.rabbitmq.reply-to"}

    assert delayed(received(properties=properties)).properties == {"message_id": "m-1"}


def test_copy_of_version_0_is_recognized_as_delayed() -> None:
    copy = delayed(received(), 0)
    back = received(body=copy.body, properties=dict(copy.properties), headers=dict(copy.headers))

    assert copy.headers[TOKEN] == "0"
    assert (back.version, back.delayed) == (0, True)
    assert not received().delayed


def test_copy_is_read_as_the_original_command() -> None:
    first = received()
    copy = delayed(first, 7)
    back = received(body=copy.body, properties=dict(copy.properties), headers=dict(copy.headers))

    assert back.version == 7
    assert (back.parsed, back.body_hash) == (first.parsed, first.body_hash)
    assert (back.traceparent, back.reply_to) == (first.traceparent, first.reply_to)


@pytest.mark.parametrize("properties", [{}, {"message_id": None}, {"message_id": ""}])
def test_copy_keeps_the_generated_id_of_a_command_without_an_id(properties: dict[str, Any]) -> None:
    body = b'{"destination_address": "+16131234567", "message": "hi"}'
    nameless = read(
        Delivery(body=body, tag=(1, 1), properties=properties),
        rules=CommandRules(allow_missing_id=True),
        now=NOW,
        new_id=lambda: "spare",
    )

    assert nameless.parsed.id == "spare"
    assert delayed(nameless).properties["message_id"] == "spare"


@pytest.mark.parametrize("content_type", [None, 17, b"\xff"])
def test_missing_content_type_is_not_added(content_type: object) -> None:
    properties = {} if content_type is None else {"content_type": content_type}

    assert delayed(received(properties=properties)).content_type is None


# --- replies ---------------------------------------------------------------------------------------------------------


def test_reply_goes_to_the_reply_queue_and_may_be_dropped() -> None:
    message = answer(received())

    assert message is not None
    assert (message.exchange, message.routing_key, message.droppable) == ("", "answers", True)
    assert message.body is EVENT.body
    assert message.content_type == CONTENT_TYPE
    assert message.properties["correlation_id"] == "c-1"
    assert message.properties["message_id"] == "e-1"


def test_reply_has_a_correlation_id_only_where_the_request_has_one() -> None:
    message = answer(received(properties={"reply_to": "answers"}))

    assert message is not None
    assert "correlation_id" not in message.properties


@pytest.mark.parametrize(
    "reply_to", [None, "", 17, b"answers", "sms.send", "sms.dead", "amq.rabbitmq.reply-to"]
)
def test_no_reply_is_sent_without_reply_to_or_to_the_queues_of_the_bridge(reply_to: object) -> None:
    assert answer(received(properties={"reply_to": reply_to})) is None


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "version"),
    [
        ("7", 7),
        (b"7", 7),
        (7, 7),
        ("999999999", 999_999_999),
        ("9999999999", 0),
        (2**63, 0),
        (True, 0),
        (-7, 0),
        ("-7", 0),
        ("+7", 0),
        ("7.0", 0),
        (7.0, 0),
        (" 7", 0),
        ("7\n", 0),
        ("\u0667", 0),
        ("", 0),
        (b"\xff", 0),
        (None, 0),
        ([7], 0),
        ({"7": 7}, 0),
    ],
)
def test_version_header_that_is_not_a_number_is_ignored(token: object, version: int) -> None:
    assert received(headers={TOKEN: token}).version == version


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (TRACEPARENT, TRACEPARENT),
        (TRACEPARENT.encode(), TRACEPARENT),
        (TRACEPARENT + "\r\nx: y", None),
        (TRACEPARENT.upper(), None),
        ("", None),
        (17, None),
        (b"\xff", None),
    ],
)
def test_only_a_valid_traceparent_is_passed_on(header: object, expected: str | None) -> None:
    assert received(headers={"traceparent": header}).traceparent == expected


@given(
    body=st.binary(),
    values=st.dictionaries(
        st.sampled_from(
            [TOKEN, "traceparent", "x-death", "message_id", "reply_to", "correlation_id", "content_type"]
        ),
        st.none() | st.text() | st.binary() | st.integers() | st.floats() | st.lists(st.integers()),
    ),
)
def test_no_delivery_crashes_parsing_or_copying(body: bytes, values: dict[str, Any]) -> None:
    command = received(body=body, properties=values, headers=values)

    answer(command)
    assert dead_letter(command, DEATH, dead_queue="sms.dead").body == body
    assert "x-death" not in delayed(command).headers


def test_hash_is_that_of_the_body_to_the_byte() -> None:
    assert received().body_hash != received(body=BODY.strip()).body_hash


def test_conflict_names_the_command_and_keeps_its_metadata() -> None:
    body = json.dumps({**json.loads(BODY), "metadata": {"a": "b"}}).encode()
    malformed = conflicting(received(body=body))

    assert isinstance(malformed, Malformed)
    assert (malformed.id, malformed.metadata) == ("order-17", {"a": "b"})
    assert malformed.reasons == ("another command has this id, with other content",)


@pytest.mark.parametrize("unreadable", [("headers.x-time",), ("reply_to",), ("timestamp", "headers.x-note")])
def test_command_is_read_when_one_of_its_properties_is_unreadable(unreadable: tuple[str, ...]) -> None:
    received = read_with(unreadable, headers={"traceparent": TRACEPARENT})

    assert isinstance(received.parsed, SendSms)
    assert (received.parsed.id, received.traceparent) == ("order-17", TRACEPARENT)


@pytest.mark.parametrize("unreadable", [("headers",), (f"headers.{TOKEN}",), ("headers.x-bridge-replay",)])
def test_command_with_unreadable_headers_is_reported_with_all_readable_properties(
    unreadable: tuple[str, ...],
) -> None:
    received = read_with(unreadable, metadata={"order": "17"})

    assert isinstance(received.parsed, Malformed)
    assert (received.parsed.id, received.parsed.metadata) == ("order-17", {"order": "17"})
    assert received.reply_to == "answers"


@pytest.mark.parametrize("allow_missing_id", [False, True])
def test_unreadable_id_does_not_count_as_missing(allow_missing_id: bool) -> None:
    rules = CommandRules(allow_missing_id=allow_missing_id)
    received = read_with(("message_id",), rules, id=None)

    assert isinstance(received.parsed, Malformed)
    assert "message_id" in received.parsed.reasons[0]


def read_with(
    unreadable: tuple[str, ...],
    rules: CommandRules | None = None,
    headers: dict[str, object] | None = None,
    **fields: object,
) -> Received:
    """Read a command with unreadable properties or headers."""
    properties = {key: value for key, value in OWN_PROPERTIES.items() if key not in unreadable}
    delivery = Delivery(
        body=json.dumps(json.loads(BODY) | fields).encode(),
        tag=(0, 1),
        properties=properties,
        headers=headers or {},
        unreadable=unreadable,
    )
    return read(delivery, rules=rules or CommandRules(), now=NOW, new_id=lambda: "made up")
