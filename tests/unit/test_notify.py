"""Events made from notifications."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import humps
import pytest
from cpaassdk.resources.notification import Notification as SdkNotification

from bridge.domain.errors import InvalidNotification
from bridge.domain.notification_events import ReceiptNotification, receipt_of, to_event
from bridge.domain.notifications import parse_notification
from tests.harness.contract_check import event_of
from tests.harness.webhook import inbound_id

if TYPE_CHECKING:
    from bridge.domain.events import Event

_NOW = 1_525_895_990.25
_INBOUND = (
    b'{"inboundSMSMessageNotification":{"inboundSMSMessage":{"dateTime":1525895987,'
    b'"destinationAddress":"+16137001234","message":"hi","messageId":"O957s10JReNV","senderAddress":"+16139998877"},'
    b'"dateTime":1525895987,"id":"441fc36e-aab7-45dd-905c-4aaec7a7464d"}}'
)
_CANCELLATION = (
    b'{"smsSubscriptionCancellationNotification":{"link":[{"href":"/cpaas/smsmessaging/v1/u/inbound/subscriptions/s1",'
    b'"rel":"Subscription"}],"dateTime":1525895987,"id":"441fc36e"}}'
)
_DELETION = (
    b'{"smsEventNotification":{"eventDescription":"A message has been deleted.","eventType":"MessageDeleted",'
    b'"link":[{"href":"/cpaas/smsmessaging/v1/u/remoteAddresses/+1/localAddresses/+2/messages/m1","rel":"smsMessage"}],'
    b'"id":"8c30d6c7","dateTime":1545995973646}}'
)


def receive(body: bytes, *, now: float = _NOW, **options: Any) -> Event:
    return to_event(parse_notification(body), source="/sms-bridge/sms", time=now, **options)


def _receive(body: bytes, **options: Any) -> dict[str, Any]:
    document: dict[str, Any] = event_of(receive(body, now=_NOW, **options).body)
    return document


def test_webhook_body_becomes_a_cloud_event() -> None:
    event = receive(_INBOUND, now=_NOW)

    assert (event.type, event.subject) == ("sms.inbound.received", None)
    assert event_of(event.body) == {
        "specversion": "1.0",
        "id": inbound_id("O957s10JReNV", "hi"),
        "type": "sms.inbound.received",
        "source": "/sms-bridge/sms",
        "time": "2018-05-09T19:59:47.000Z",
        "datacontenttype": "application/json",
        "data": {
            "date_time": 1525895987,
            "destination_address": "+16137001234",
            "message": "hi",
            "message_id": "O957s10JReNV",
            "sender_address": "+16139998877",
            "notification_id": "441fc36e-aab7-45dd-905c-4aaec7a7464d",
            "notification_date_time": 1525895987,
            "type": "inbound",
            "recovered": False,
        },
    }


@pytest.mark.parametrize("body", [_CANCELLATION, _DELETION])
def test_data_matches_the_parsed_form_of_the_python_sdk(body: bytes) -> None:
    parsed = SdkNotification(api=None).parse(json.loads(body))

    assert _receive(body)["data"] == {**parsed, "recovered": False}


@pytest.mark.parametrize("body", [_INBOUND, _CANCELLATION, _DELETION])
def test_camel_case_matches_the_node_sdk(body: bytes) -> None:
    snake = _receive(body)["data"]

    assert _receive(body, camel_case=True)["data"] == humps.camelize(snake)


def test_body_of_an_unrecognized_notification_keeps_its_spelling() -> None:
    raw = {"some_key": {"otherKey": [{"a_b": "\u20ac"}]}}

    assert _receive(json.dumps(raw).encode(), camel_case=True)["data"]["raw"] == raw


def test_lone_surrogate_becomes_a_replacement_character_at_any_position() -> None:
    half = "\ud800"
    raw = {
        "outer\ud83d": {
            "id": "n\udc00",
            "list": ["a\ud83d", {half: 1, "\ufffd": 2}],
            "whole": "\U0001f600",
        }
    }
    cut = _INBOUND.replace(b'"hi"', b'"hi\\ud83d"')

    assert _receive(cut)["data"]["message"] == "hi\ufffd"
    assert receive(cut, now=_NOW).is_repaired
    assert not receive(_INBOUND, now=_NOW).is_repaired
    assert _receive(json.dumps(raw).encode())["data"]["raw"] == {
        "outer\ufffd": {
            "id": "n\ufffd",
            "list": ["a\ufffd", {"\ufffd\ufffd": 1, "\ufffd": 2}],
            "whole": "\U0001f600",
        }
    }


def test_notifications_that_differ_in_a_lone_surrogate_are_two_events() -> None:
    first, second = (_receive(json.dumps({"a": {"b": half}}).encode()) for half in ("\ud800", "\ud801"))

    assert first["data"] == second["data"]
    assert first["id"] != second["id"]


def test_body_that_is_not_a_notification_is_not_an_event() -> None:
    with pytest.raises(InvalidNotification):
        receive(b"[]", now=_NOW)


def test_notification_parsed_elsewhere_makes_the_same_event() -> None:
    event = to_event(parse_notification(_INBOUND), source="/sms-bridge/sms", time=_NOW)

    assert event == receive(_INBOUND, now=_NOW)


@pytest.mark.parametrize(
    ("own", "of_message", "time"),
    [
        (1525895988, 1525895987, "2018-05-09T19:59:48.000Z"),
        (1525895988123, 1525895987, "2018-05-09T19:59:48.123Z"),
        (None, 1525895987, "2018-05-09T19:59:47.000Z"),
        # A fixture of the provider has one digit too many; text, zero and a boolean are not times.
        (15459135467, 1525895987, "2018-05-09T19:59:47.000Z"),
        ("1525895988", 1525895987.5, "2018-05-09T19:59:47.500Z"),
        (0, True, "2018-05-09T19:59:50.250Z"),
        (10**20, -1525895987, "2018-05-09T19:59:50.250Z"),
        (None, None, "2018-05-09T19:59:50.250Z"),
    ],
)
def test_time_is_that_of_the_notification_else_the_message_else_the_arrival(
    own: object, of_message: object, time: str
) -> None:
    document = json.loads(_INBOUND)
    document["inboundSMSMessageNotification"]["dateTime"] = own
    document["inboundSMSMessageNotification"]["inboundSMSMessage"]["dateTime"] = of_message

    assert _receive(json.dumps(document).encode())["time"] == time


@pytest.mark.parametrize(
    "body", [_INBOUND, _CANCELLATION, _DELETION, b'{"new":{"id":"n1","dateTime":1525895987}}']
)
def test_notification_is_the_same_event_at_any_time_and_in_any_form(body: bytes) -> None:
    spaced = json.dumps(json.loads(body), indent=2).encode()

    first = receive(body, now=_NOW)
    again = receive(spaced, now=_NOW + 3600)

    assert first == again


def _of_receipt(camel_case: bool = False, **fields: object) -> ReceiptNotification | None:
    info = {"address": "+1613", "deliveryStatus": "DeliveryImpossible", "messageId": "m1", **fields}
    body = json.dumps({"deliveryInfoNotification": {"deliveryInfo": info}}).encode()
    return receipt_of(receive(body, now=_NOW, camel_case=camel_case))


@pytest.mark.parametrize("camel_case", [False, True])
def test_receipt_names_the_message_and_its_status(camel_case: bool) -> None:
    expected = ReceiptNotification(message_id="m1", status="DeliveryImpossible")

    assert _of_receipt(camel_case=camel_case) == expected


@pytest.mark.parametrize("message_id", [None, 17, "", "a\u0000b", "\ud83d", "x" * 129, ["m1"]])
def test_receipt_with_an_invalid_message_id_has_no_submission(message_id: object) -> None:
    assert _of_receipt(messageId=message_id) is None


@pytest.mark.parametrize("body", [_INBOUND, _CANCELLATION, _DELETION, b'{"other":{"messageId":"m1"}}'])
def test_other_notifications_are_not_receipts(body: bytes) -> None:
    assert receipt_of(receive(body, now=_NOW)) is None
