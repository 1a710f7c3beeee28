from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.events import INBOUND_RECEIVED, SENT, Event, make_event, outgoing_event

if TYPE_CHECKING:
    from bridge.domain.messages import Outgoing

RECORDED = datetime(2026, 3, 1, 12, 30, 15, 999_000, tzinfo=UTC)


def event(*, subject: str | None = "order-17", message: str = "hi", source: str = "/sms-bridge/sms") -> Event:
    return make_event(
        id="0b9e5a3c-7d0f-5f8e-8a6b-1d2c3e4f5a6b",
        type=SENT if subject else INBOUND_RECEIVED,
        source=source,
        time=RECORDED.timestamp(),
        subject=subject,
        data={"message": message},
    )


def to_message(confirmed: Event) -> Outgoing:
    return outgoing_event(confirmed, exchange="sms.events", unrouted_queue="sms.unrouted")


def test_event_is_routed_by_its_type_and_falls_back_to_the_unrouted_queue() -> None:
    message = to_message(event())

    assert (message.exchange, message.routing_key) == ("sms.events", "sms.outbound.sent")
    assert message.fallback == "sms.unrouted"
    assert not message.droppable
    assert message.content_type == "application/cloudevents+json"


def test_body_is_the_bytes_of_the_event() -> None:
    confirmed = event()

    assert to_message(confirmed).body is confirmed.body


def test_properties_name_the_event_and_its_command() -> None:
    assert to_message(event()).properties == {
        "message_id": "0b9e5a3c-7d0f-5f8e-8a6b-1d2c3e4f5a6b",
        "type": "sms.outbound.sent",
        "correlation_id": "order-17",
        "timestamp": int(RECORDED.timestamp()),
    }


def test_event_of_no_command_has_no_correlation_id() -> None:
    assert "correlation_id" not in to_message(event(subject=None)).properties


@given(st.text(), st.text())
def test_text_is_not_accepted_as_the_time_of_an_event(message: str, source: str) -> None:
    confirmed = event(message=f'"time":"1999-01-01T00:00:00.000Z"{message}', source=f'"time":"{source}')

    assert to_message(confirmed).properties["timestamp"] == int(RECORDED.timestamp())
