"""Webhook bodies read into the parsed form of the provider's SDKs; the fixtures are theirs (wire reference 7)."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.errors import InvalidNotification
from bridge.domain.notifications import MAX_DEPTH, Notification, parse_notification

_ID = "441fc36e-aab7-45dd-905c-4aaec7a7464d"
_STAMP = {"dateTime": 1525895987, "id": _ID}
_TEXT = {
    "dateTime": 1525895980,
    "destinationAddress": "+16137001234",
    "message": "hi",
    "messageId": "O957s10JReNV",
    "senderAddress": "+16139998877",
}
_CANCELLED = {
    "link": [
        {
            "href": "/cpaas/smsmessaging/v1/{uid}/inbound/subscriptions/f179f10b-e846-4370-af20-db5f7dc0f985",
            "rel": "Subscription",
        }
    ],
    **_STAMP,
}
_DELETED = {
    "eventDescription": "A message has been deleted.",
    "eventType": "MessageDeleted",
    "link": [
        {
            "href": "/cpaas/smsmessaging/v1/{uid}/remoteAddresses/+12013000113/localAddresses/+12282202950"
            "/messages/SM5C24C4AB0001020821100077367A8A",
            "rel": "smsMessage",
        }
    ],
    "id": "8c30d6c7-d15e-41a0-800b-e7dc401403fb",
    "dateTime": 1545995973646,
}
_RECEIPT = {"address": "+16139998877", "deliveryStatus": "DeliveredToTerminal", "messageId": "olr3j20Cdx87"}

_INBOUND = {"inboundSMSMessageNotification": {"inboundSMSMessage": _TEXT, **_STAMP}}
_OUTBOUND = {"outboundSMSMessageNotification": {"outboundSMSMessage": _TEXT, **_STAMP}}
_CANCELLATION = {"smsSubscriptionCancellationNotification": _CANCELLED}
_DELETION = {"smsEventNotification": _DELETED}
_DELIVERY = {"deliveryInfoNotification": {"deliveryInfo": _RECEIPT}}
_CHAT = {"chatMessageNotification": {"chatMessage": {"text": "hi"}, **_STAMP}}
_MESSAGE = "inboundSMSMessageNotification"
_KNOWN: list[dict[str, Any]] = [_INBOUND, _OUTBOUND, _CANCELLATION, _DELETION, _DELIVERY]

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def _parse(document: object) -> Notification:
    return parse_notification(json.dumps(document).encode())


def _changed(document: dict[str, Any], *path: str | int, value: object) -> dict[str, Any]:
    """Copy `document` with `value` at `path`."""
    changed = copy.deepcopy(document)
    at: Any = changed
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    return changed


@pytest.mark.parametrize(
    ("document", "event_type", "kind"),
    [(_INBOUND, "sms.inbound.received", "inbound"), (_OUTBOUND, "sms.outbound.synced", "outbound")],
)
def test_message_is_the_sdks_parsed_form(document: dict[str, Any], event_type: str, kind: str) -> None:
    notification = _parse(document)

    assert notification.event_type == event_type
    assert notification.data == {
        "date_time": 1525895980,
        "destination_address": "+16137001234",
        "message": "hi",
        "message_id": "O957s10JReNV",
        "sender_address": "+16139998877",
        "notification_id": _ID,
        "notification_date_time": 1525895987,
        "type": kind,
        "recovered": False,
    }
    assert notification.identity == (
        event_type,
        "O957s10JReNV",
        "+16137001234",
        "+16139998877",
        "hi",
    )


def test_cancellation_names_the_subscription() -> None:
    notification = _parse(_CANCELLATION)

    assert notification.event_type == "sms.subscription.cancelled"
    assert notification.data == {
        "subscription_id": "f179f10b-e846-4370-af20-db5f7dc0f985",
        "notification_id": _ID,
        "notification_date_time": 1525895987,
        "type": "subscriptionCancel",
        "recovered": False,
    }
    assert notification.identity == (
        "sms.subscription.cancelled",
        _ID,
        "f179f10b-e846-4370-af20-db5f7dc0f985",
    )


def test_event_names_the_message_and_what_happened_to_it() -> None:
    notification = _parse(_DELETION)

    assert notification.event_type == "sms.message.event"
    assert notification.data == {
        "notification_id": "8c30d6c7-d15e-41a0-800b-e7dc401403fb",
        "notification_date_time": 1545995973646,
        "message_id": "SM5C24C4AB0001020821100077367A8A",
        "type": "event",
        "event_details": {"description": "A message has been deleted.", "type": "MessageDeleted"},
        "recovered": False,
    }
    assert notification.identity[:2] == ("sms.message.event", "8c30d6c7-d15e-41a0-800b-e7dc401403fb")


@pytest.mark.parametrize(
    ("index", "path", "value"),
    [
        (0, (_MESSAGE, "inboundSMSMessage", "message"), "ho"),
        (0, (_MESSAGE, "inboundSMSMessage", "message"), None),
        (0, (_MESSAGE, "inboundSMSMessage", "destinationAddress"), "+16137001235"),
        (0, (_MESSAGE, "inboundSMSMessage", "senderAddress"), "+16139998878"),
        (1, ("outboundSMSMessageNotification", "outboundSMSMessage", "message"), "ho"),
        (2, ("smsSubscriptionCancellationNotification", "link", 0, "href"), "/subscriptions/another"),
        (3, ("smsEventNotification", "link", 0, "href"), "/messages/another"),
        (3, ("smsEventNotification", "eventType"), "MessageRead"),
        (5, ("chatMessageNotification", "chatMessage", "text"), "ho"),
    ],
)
def test_different_bodies_are_different_notifications_even_with_one_provider_id(
    index: int, path: tuple[str | int, ...], value: object
) -> None:
    document = [*_KNOWN, _CHAT][index]

    other = _parse(_changed(document, *path, value=value))

    assert other.identity[:2] == _parse(document).identity[:2]
    assert other.identity != _parse(document).identity


@pytest.mark.parametrize("index", range(6))
def test_repeat_with_a_later_stamp_is_the_same_notification(index: int) -> None:
    document = [*_KNOWN, _CHAT][index]
    (name,) = document

    later = _changed(document, name, "dateTime", value=1525899999)

    assert _parse(later).identity == _parse(document).identity


@pytest.mark.parametrize(
    ("status", "event_type"),
    [("DeliveredToTerminal", "sms.outbound.delivered"), ("DeliveryImpossible", "sms.outbound.undelivered")],
)
def test_final_delivery_receipt_is_news_of_a_message(status: str, event_type: str) -> None:
    notification = _parse(
        _changed(_DELIVERY, "deliveryInfoNotification", "deliveryInfo", "deliveryStatus", value=status)
    )

    assert notification.event_type == event_type
    assert notification.data == {
        "destination_address": "+16139998877",
        "message_id": "olr3j20Cdx87",
        "delivery_status": status,
        "notification_id": None,
        "notification_date_time": None,
        "type": "deliveryInfo",
        "recovered": False,
    }


def test_receipt_is_identified_by_its_content() -> None:
    again = {"deliveryInfoNotification": {"deliveryInfo": [_RECEIPT], "callbackData": "x"}}
    other = _changed(_DELIVERY, "deliveryInfoNotification", "deliveryInfo", "address", value="+16139998878")

    assert _parse(again).identity == _parse(_DELIVERY).identity
    assert _parse(other).identity != _parse(_DELIVERY).identity


def test_receipts_without_a_message_id_are_distinct() -> None:
    some = [{"deliveryInfo": {**_RECEIPT, "messageId": None}, "callbackData": data} for data in ("a", "b")]

    first, second = (_parse({"deliveryInfoNotification": receipt}) for receipt in some)

    assert first.event_type == "sms.outbound.delivered"
    assert first.identity != second.identity


_DELIVERED = "deliveryInfoNotification"


@pytest.mark.parametrize(
    "document",
    [
        {"chatMessageNotification": {"chatMessage": {"text": "hi"}, "id": "x"}},
        {"a": {}},
        {"a": 1, "b": {"c": None}},
        {_MESSAGE: {}},
        {_MESSAGE: {"id": "x"}},
        {_MESSAGE: {"inboundSMSMessage": None, "id": "x"}},
        {_MESSAGE: {"inboundSMSMessage": [_TEXT], "id": "x"}},
        {_MESSAGE: {"outboundSMSMessage": _TEXT, "id": "x"}},
        {_MESSAGE: "text", "other": {}},
        {"smsEventNotification": {}},
        {"smsEventNotification": {"link": []}},
        {"smsSubscriptionCancellationNotification": {"link": [{"rel": "Subscription"}]}},
        {_DELIVERED: {"deliveryInfo": None}},
        {_DELIVERED: {"deliveryInfo": []}},
        {_DELIVERED: {"deliveryInfo": [_RECEIPT, _RECEIPT]}},
        {_DELIVERED: {"deliveryInfo": {**_RECEIPT, "deliveryStatus": "MessageWaiting"}}},
        {_DELIVERED: {"deliveryInfo": {**_RECEIPT, "deliveryStatus": ["DeliveredToTerminal"]}}},
        {**_INBOUND, **_OUTBOUND},
        {"INBOUNDSMSMESSAGENOTIFICATION": _INBOUND[_MESSAGE]},
    ],
)
def test_unrecognized_notification_is_passed_on_whole(document: dict[str, Any]) -> None:
    notification = _parse(document)

    assert notification.event_type == "sms.notification.unrecognized"
    assert notification.data == {"raw": document, "recovered": False}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "body is not JSON: line 1 column 1"),
        (b"From=%2B16139998877&Body=hi", "body is not JSON: line 1 column 1"),
        (b"\xff", "body is not UTF-8"),
        (b"\xef\xbb\xbf{}", "body begins with a byte order mark"),
        (b"null", "body is not an object with an object in it"),
        (b"17", "body is not an object with an object in it"),
        (b'"text"', "body is not an object with an object in it"),
        (b"{}", "body is not an object with an object in it"),
        (b'{"a": 1, "b": [{}]}', "body is not an object with an object in it"),
        (b'[{"a": {}}]', "body is not an object with an object in it"),
        (b'{"inboundSMSMessageNotification": null}', "body is not an object with an object in it"),
        (b'{"a": {"b": NaN}}', "body NaN is not JSON"),
        (b'{"a": {"b": 1e999}}', "body has a number that is too big"),
        (b'{"a": {"b": ' + b"9" * 5000 + b"}}", "body has a number that is too long"),
        (b'{"a": {"id": 1, "id": 2}}', "body has the key twice: id"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, f"body is nested deeper than {MAX_DEPTH}"),
        (b'{"a":' * 13_000, f"body is nested deeper than {MAX_DEPTH}"),
        (b'{"a":{"b":' + b"[" * 32_000 + b"]" * 32_000 + b"}}", f"body is nested deeper than {MAX_DEPTH}"),
    ],
)
def test_body_without_an_object_is_refused_with_a_reason(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidNotification) as caught:
        parse_notification(body)

    assert caught.value.reasons == (reason,)


def test_deepest_body_is_still_an_event() -> None:
    body = b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH

    assert parse_notification(body).data["raw"] == json.loads(body)


def test_values_stay_as_they_came_and_what_is_missing_is_null() -> None:
    inner = {"dateTime": "1525895980", "message": None, "messageId": 7, "extraURLField": {"someKey": [1.5]}}

    notification = _parse({_MESSAGE: {"inboundSMSMessage": inner}})

    assert notification.data == {
        "date_time": "1525895980",
        "destination_address": None,
        "message": None,
        "message_id": 7,
        "sender_address": None,
        "extra_url_field": {"someKey": [1.5]},
        "notification_id": None,
        "notification_date_time": None,
        "type": "inbound",
        "recovered": False,
    }
    assert notification.identity[:2] == ("sms.inbound.received", "7")


def test_message_cannot_set_reserved_keys() -> None:
    inner = {**_TEXT, "type": "outbound", "notificationId": "forged", "recovered": True}

    data = _parse({_MESSAGE: {"inboundSMSMessage": inner, **_STAMP}}).data

    assert (data["type"], data["notification_id"], data["recovered"]) == ("inbound", _ID, False)


def test_unknown_key_is_ignored() -> None:
    assert _parse({"apiVersion": "1", **_INBOUND, "meta": {}}) == _parse(_INBOUND)


@pytest.mark.parametrize("value", [None, "", True, 1.5, [], {}])
def test_without_a_usable_message_id_a_message_is_known_by_its_notification(value: object) -> None:
    document = _changed(_INBOUND, _MESSAGE, "inboundSMSMessage", "messageId", value=value)

    assert _parse(document).identity[:2] == ("sms.inbound.received", _ID)


def test_without_any_id_a_notification_is_known_by_its_body_in_any_order_of_keys() -> None:
    message = {"message": "hi", "senderAddress": "+16139998877"}
    turned = dict(reversed(message.items()))

    first, same, other = (
        _parse({_MESSAGE: {"inboundSMSMessage": inner}})
        for inner in (message, turned, {**message, "message": "ho"})
    )

    assert first.identity == same.identity
    assert first.identity != other.identity


def test_same_id_under_another_name_is_another_notification() -> None:
    names = ["chatMessageNotification", "chatMessageStatusNotification", "smsEventNotification"]

    identities = {_parse({name: {"id": _ID, "link": []}}).identity for name in names}

    assert len(identities) == 3


@pytest.mark.parametrize(
    ("link", "subscription_id"),
    [
        ([{"href": "/inbound/subscriptions/s1/"}], "s1"),
        ([{"href": "https://api.example/subscriptions/s1?x=/y"}], "s1"),
        ([{"href": "s1"}], "s1"),
        ({"href": "/subscriptions/s1"}, "s1"),
        ([None, {"rel": "x"}, {"href": 7}, {"href": "/subscriptions/s1"}], "s1"),
        ([{"href": ""}], None),
        ([{"href": "///"}], None),
        ([], None),
        ("/subscriptions/s1", None),
        (None, None),
    ],
)
def test_subscription_id_is_the_last_part_of_the_first_link(
    link: object, subscription_id: str | None
) -> None:
    notification = _parse({"smsSubscriptionCancellationNotification": {"link": link, "id": _ID}})

    assert notification.event_type == "sms.subscription.cancelled"
    assert notification.data["subscription_id"] == subscription_id


def test_lone_surrogate_is_kept() -> None:
    body = json.dumps(_changed(_INBOUND, _MESSAGE, "inboundSMSMessage", "message", value="\ud83d")).encode()

    assert parse_notification(body).data["message"] == "\ud83d"


_PATHS: list[tuple[int, tuple[str | int, ...]]] = [
    (0, (_MESSAGE,)),
    (0, (_MESSAGE, "inboundSMSMessage")),
    (0, (_MESSAGE, "inboundSMSMessage", "messageId")),
    (0, (_MESSAGE, "id")),
    (2, ("smsSubscriptionCancellationNotification", "link")),
    (2, ("smsSubscriptionCancellationNotification", "link", 0)),
    (2, ("smsSubscriptionCancellationNotification", "link", 0, "href")),
    (3, ("smsEventNotification", "link")),
    (3, ("smsEventNotification", "eventType")),
    (4, (_DELIVERED, "deliveryInfo")),
    (4, (_DELIVERED, "deliveryInfo", "messageId")),
    (4, (_DELIVERED, "deliveryInfo", "deliveryStatus")),
]


@given(st.sampled_from(_PATHS), _JSON)
def test_no_value_in_a_known_notification_raises_another_error(where: Any, value: object) -> None:
    index, path = where
    document = _changed(_KNOWN[index], *path, value=value)

    with contextlib.suppress(InvalidNotification):
        assert _parse(document).data["recovered"] is False


@given(st.dictionaries(st.text() | st.sampled_from([key for known in _KNOWN for key in known]), _JSON))
def test_every_object_that_holds_an_object_becomes_a_notification(document: dict[str, Any]) -> None:
    document["held"] = {}

    notification = _parse(document)

    assert notification == _parse(document)
    assert all(notification.identity)


@given(st.binary())
def test_no_bytes_raise_another_error(body: bytes) -> None:
    with contextlib.suppress(InvalidNotification):
        parse_notification(body)


def test_body_of_a_message_that_is_not_text_is_not_read_as_text() -> None:
    def identity(message: object) -> tuple[str, ...]:
        body = {
            "inboundSMSMessageNotification": {"inboundSMSMessage": {"messageId": "m1", "message": message}}
        }
        parsed = parse_notification(json.dumps(body).encode())
        return parsed.identity

    digest = hashlib.sha256(b"null").hexdigest()

    assert digest in identity(None)
    assert identity(digest) != identity(None)
