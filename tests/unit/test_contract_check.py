"""Faults of messages that the suite's contract check finds."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from bridge.app.contract import examples
from bridge.domain import events
from bridge.domain.contracts.documents import DEAD_LETTER_HEADERS
from bridge.domain.contracts.events import TYPES
from bridge.domain.events import Event, outgoing_event
from tests.harness.contract_check import of_letter, of_message
from tests.harness.contract_documents import NAMES

if TYPE_CHECKING:
    from bridge.domain.messages import Outgoing

EXAMPLES = examples(NAMES, camel_case=False)
CAMEL = examples(NAMES, camel_case=True)
HEADERS = EXAMPLES[DEAD_LETTER_HEADERS]


def message_of(event: dict[str, Any]) -> Outgoing:
    """Return an event as it is published."""
    made = Event(
        id=event["id"],
        type=event["type"],
        subject=event.get("subject"),
        body=json.dumps(event, separators=(",", ":")).encode(),
    )
    return outgoing_event(made, exchange=NAMES.events_exchange, unrouted_queue=NAMES.unrouted_queue)


SENT = message_of(EXAMPLES[events.SENT])


def found(
    type_: str = events.SENT,
    *,
    shown: dict[str, dict[str, Any]] = EXAMPLES,
    exchange: str = "sms.events",
    routing_key: str | None = None,
    properties: dict[str, Any] | None = None,
    **changes: Any,
) -> str:
    """Return the findings for a changed example; `data` changes its data."""
    message = message_of(shown[type_])
    event = json.loads(message.body)
    event |= {"data": event["data"] | changes.pop("data", {})} | changes
    whole = {**message.properties, "content_type": message.content_type, "delivery_mode": 2}
    return "\n".join(
        of_message(
            json.dumps(event).encode(),
            exchange,
            message.routing_key if routing_key is None else routing_key,
            whole | (properties or {}),
        )
    )


@pytest.mark.parametrize("shown", [EXAMPLES, CAMEL], ids=["snake", "camel"])
@pytest.mark.parametrize("type_", TYPES)
def test_example_of_an_event_is_in_order(type_: str, shown: dict[str, dict[str, Any]]) -> None:
    assert found(type_, shown=shown) == ""


@pytest.mark.parametrize(
    "type_",
    [type_ for type_ in TYPES if type_ not in (events.INBOUND_RECEIVED, events.OUTBOUND_SYNCED)],
)
def test_key_that_no_contract_has_is_found(type_: str) -> None:
    assert "sms." in found(type_, data={"surprise": 1})
    assert "surprise" in found(type_, surprise=1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"type": "sms.outbound.lost"}, "no such type: sms.outbound.lost"),
        ({"data": {"attempts": "1"}}, "sms.outbound.sent at data.attempts"),
        ({"data": {"attempts": -1}}, "sms.outbound.sent at data.attempts"),
        ({"data": {"commandId": "order-17"}}, "sms.outbound.sent at data"),
        ({"time": "2027-01-15 08:00:00"}, "sms.outbound.sent at time"),
        ({"id": "e1"}, "sms.outbound.sent at id"),
        ({"subject": "order-18"}, "another correlation_id than its subject"),
        ({"routing_key": "sms.outbound.failed"}, "came with the routing key sms.outbound.failed"),
        ({"properties": {"message_id": "e1"}}, "another id or type in its properties"),
        ({"properties": {"timestamp": "today"}}, "properties of sms.outbound.sent"),
        ({"properties": {"delivery_mode": 1}}, "properties of sms.outbound.sent"),
        ({"properties": {"expiration": "1"}}, "properties of sms.outbound.sent"),
    ],
)
def test_faults_of_an_event_are_found(changes: dict[str, Any], said: str) -> None:
    assert said in found(**changes)


def test_timestamp_is_accepted_as_py_amqp_reads_it() -> None:
    at = datetime.fromtimestamp(int(str(SENT.properties["timestamp"])), UTC).replace(tzinfo=None)

    assert found(properties={"timestamp": at}) == ""


def test_reply_is_an_outcome_with_separate_properties() -> None:
    properties = {**SENT.properties, "content_type": SENT.content_type, "delivery_mode": 2}
    del properties["timestamp"]
    deferred = message_of(EXAMPLES[events.DEFERRED])
    other = {**properties, "message_id": deferred.properties["message_id"], "type": events.DEFERRED}

    assert list(of_message(SENT.body, "", "orders.sms", properties)) == []
    assert "sms.outbound.deferred came as a reply" in list(of_message(deferred.body, "", "orders.sms", other))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"x-bridge-outcome": "sent"}, "sent"),
        ({"x-bridge-event-id": None}, "null"),
        ({"x-bridge-index": "0"}, "integer"),
    ],
)
def test_faults_of_a_dead_letter_are_found(changes: dict[str, Any], said: str) -> None:
    assert list(of_letter({**HEADERS, "theirs": [1]})) == []
    assert any(said in one for one in of_letter({**HEADERS, **changes}))
