"""A notification that was answered 2xx is an event, whatever the broker does meanwhile."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from bridge.domain.events import event_id
from tests.acceptance.commands import run
from tests.harness.chaos_proxy import ChaosProxy
from tests.harness.waiting import wait_until
from tests.harness.webhook import inbound, inbound_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.acceptance.conftest import Provider, StartIngest
    from tests.harness.broker import Broker
    from tests.harness.broker_client import BrokerClient
    from tests.harness.webhook import Reply


pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

SECRET = "Bearer hunter2-tangerine"
OLD_SECRET = "Bearer hunter2-plum"
#: Seconds until an ingest stops waiting for a confirm.
TIMEOUT = 1.0
NOTE_ID = "441fc36e-aab7-45dd-905c-4aaec7a7464d"

#: What is posted (wire reference 7), and the event it is: type, what its id is made of, data.
NOTIFICATIONS: list[tuple[dict[str, Any], str, tuple[str, ...], dict[str, Any]]] = [
    (
        {
            "inboundSMSMessageNotification": {
                "inboundSMSMessage": {
                    "dateTime": 1525895987,
                    "destinationAddress": "+16137001234",
                    "message": "canary hi",
                    "messageId": "O957s10JReNV",
                    "senderAddress": "+16139998877",
                },
                "dateTime": 1525895987,
                "id": NOTE_ID,
            }
        },
        "sms.inbound.received",
        ("O957s10JReNV", "+16137001234", "+16139998877", "canary hi"),
        {
            "date_time": 1525895987,
            "destination_address": "+16137001234",
            "message": "canary hi",
            "message_id": "O957s10JReNV",
            "sender_address": "+16139998877",
            "notification_id": NOTE_ID,
            "notification_date_time": 1525895987,
            "type": "inbound",
            "recovered": False,
        },
    ),
    (
        {
            "outboundSMSMessageNotification": {
                "outboundSMSMessage": {
                    "dateTime": 1569218381777,
                    "destinationAddress": "+16139998877",
                    "message": "canary \u00e9\U0001f600",
                    "messageId": "olr3j20Cdx87",
                    "senderAddress": "+16137001234",
                },
                "dateTime": 1569218381182,
                "id": NOTE_ID,
            }
        },
        "sms.outbound.synced",
        ("olr3j20Cdx87", "+16139998877", "+16137001234", "canary \u00e9\U0001f600"),
        {
            "date_time": 1569218381777,
            "destination_address": "+16139998877",
            "message": "canary \u00e9\U0001f600",
            "message_id": "olr3j20Cdx87",
            "sender_address": "+16137001234",
            "notification_id": NOTE_ID,
            "notification_date_time": 1569218381182,
            "type": "outbound",
            "recovered": False,
        },
    ),
    (
        {
            "smsSubscriptionCancellationNotification": {
                "link": [
                    {"href": "/cpaas/smsmessaging/v1/u/inbound/subscriptions/f179f10b", "rel": "Subscription"}
                ],
                "dateTime": 1525895987,
                "id": NOTE_ID,
            }
        },
        "sms.subscription.cancelled",
        (NOTE_ID, "f179f10b"),
        {
            "subscription_id": "f179f10b",
            "notification_id": NOTE_ID,
            "notification_date_time": 1525895987,
            "type": "subscriptionCancel",
            "recovered": False,
        },
    ),
    (
        {
            "smsEventNotification": {
                "eventDescription": "A message has been deleted.",
                "eventType": "MessageDeleted",
                "link": [{"href": "/cpaas/u/remoteAddresses/+1/messages/SM5C24", "rel": "smsMessage"}],
                "id": "8c30d6c7",
                "dateTime": 1545995973646,
            }
        },
        "sms.message.event",
        # The digest of the message's id and the event's details, since one id may tell of several.
        (
            "8c30d6c7",
            hashlib.sha256(
                b'["SM5C24",{"description":"A message has been deleted.","type":"MessageDeleted"}]'
            ).hexdigest(),
        ),
        {
            "message_id": "SM5C24",
            "notification_id": "8c30d6c7",
            "notification_date_time": 1545995973646,
            "type": "event",
            "event_details": {"description": "A message has been deleted.", "type": "MessageDeleted"},
            "recovered": False,
        },
    ),
]


@pytest.fixture
def ingest_settings() -> dict[str, str]:
    """Return the settings of an ingest that accepts two authorizations."""
    return {
        "BRIDGE_INGEST__AUTHORIZATION": f"{SECRET},{OLD_SECRET}",
        "BRIDGE_INGEST__CONFIRM_TIMEOUT": str(TIMEOUT),
    }


def test_every_kind_of_notification_is_the_event_of_the_contract(
    start_ingest: StartIngest, amqp: BrokerClient
) -> None:
    _, webhook = start_ingest()
    answers = [webhook.post(body) for body, *_ in NOTIFICATIONS]
    messages = amqp.take("test.events", len(NOTIFICATIONS))

    assert [(answer.status, answer.body) for answer in answers] == [(204, b"")] * len(NOTIFICATIONS)
    for message, (_, kind, key, data) in zip(messages, NOTIFICATIONS, strict=True):
        event = message.json
        recorded = event.pop("time")
        assert event == {
            "specversion": "1.0",
            "id": event_id(kind, *key),
            "type": kind,
            "source": "/sms-bridge/sms",
            "datacontenttype": "application/json",
            "data": data,
        }
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", recorded)
        assert (message.exchange, message.routing_key, message.headers) == ("sms.events", kind, {})
        properties = dict(message.properties)
        # kombu and py-amqp give the timestamp as they like; what counts is that it is there.
        assert properties.pop("timestamp") is not None
        assert properties == {
            "message_id": event["id"],
            "type": kind,
            "content_type": "application/cloudevents+json",
            "delivery_mode": 2,
        }


def test_unknown_notification_is_an_event_with_its_body(
    start_ingest: StartIngest, amqp: BrokerClient
) -> None:
    _, webhook = start_ingest()
    unknown: list[dict[str, Any]] = [
        {"chatMessageNotification": {"chatMessage": {"text": "canary"}, "id": "c1"}},
        {"inboundSMSMessageNotification": {"id": "without its inner object"}},
    ]
    answers = [webhook.post(body).status for body in unknown]
    events = amqp.events(2)

    assert answers == [204, 204]
    assert {event["type"] for event in events} == {"sms.notification.unrecognized"}
    assert [event["data"]["raw"] for event in events] == unknown


def test_a_notification_that_another_ingest_knows_nothing_of_is_the_same_event(
    start_ingest: StartIngest, amqp: BrokerClient
) -> None:
    # Each has a ledger of its own.
    (_, one), (_, other) = start_ingest(), start_ingest()
    answers = [one.post(inbound("m1")), one.post(inbound("m1")), other.post(inbound("m1"))]
    ids = [message.properties["message_id"] for message in amqp.take("test.events", 2)]

    assert [answer.status for answer in answers] == [204] * 3
    assert ids == [inbound_id("m1")] * 2
    assert amqp.depth("test.events") == 0


def test_an_event_that_nobody_bound_a_queue_for_is_kept_aside_and_counts_as_told(
    start_ingest: StartIngest, amqp: BrokerClient
) -> None:
    amqp.unbind("test.events", "sms.events", "#")
    _, webhook = start_ingest()
    answer = webhook.post(inbound("m1"))
    (message,) = amqp.take("sms.unrouted")

    assert answer.status == 204
    assert message.json["id"] == message.properties["message_id"] == inbound_id("m1")


def test_nothing_gets_in_that_the_contract_keeps_out(start_ingest: StartIngest, amqp: BrokerClient) -> None:
    process, webhook = start_ingest()
    body = inbound("m1")
    # One of each; tests/unit/test_webhook_responses.py has them all.
    wrong: list[tuple[int, Mapping[str, Any]]] = [
        (401, {"authorization": "Bearer canary-guess"}),
        (405, {"method": "GET"}),
        (404, {"path": "/elsewhere"}),
        (415, {"content_type": "text/plain"}),
        (413, {"body": b"{" + b" " * 65_536 + b"}"}),
        (400, {"body": b"canary, no JSON"}),
    ]
    statuses = [webhook.post(**{"body": body, **request}).status for _, request in wrong]
    right = [
        webhook.post(inbound("m1"), authorization=OLD_SECRET).status,
        webhook.post(inbound("m2"), content_type=None).status,
        webhook.post(inbound("m3"), content_type="application/json; charset=utf-8").status,
    ]
    amqp.take("test.events", 3)
    stopped = process.stop(signal.SIGTERM)

    assert statuses == [status for status, _ in wrong]
    assert right == [204] * 3
    assert (stopped, amqp.depth("test.events")) == (0, 0)


def test_204_is_only_said_when_the_broker_has_it(
    start_ingest: StartIngest, amqp: BrokerClient, rabbitmq: Broker, vhost: str
) -> None:
    with ChaosProxy(("127.0.0.1", rabbitmq.port)) as way:
        process, webhook = start_ingest(BRIDGE_BROKER__URL=rabbitmq.url(vhost, way.port))
        with rabbitmq.frozen():
            frozen, frozen_took = timed(lambda: webhook.post(inbound("frozen")))
        wait_until(lambda: webhook.post(inbound("thawed")).status == 204, 15, every=0.1)
        with rabbitmq.memory_alarm():
            # The broker tells a publisher of an alarm when it publishes.
            webhook.post(inbound("alarm"))
            blocked, blocked_took = timed(lambda: webhook.post(inbound("alarmed")))
            ready_while_blocked = process.admin("/readyz")
        wait_until(lambda: webhook.post(inbound("calm")).status == 204, 15, every=0.1)
        way.refuse()
        wait_until(lambda: process.admin("/readyz")[0] == 503, 5)
        gone, gone_took = timed(lambda: webhook.post(inbound("gone")))
        alive = process.admin("/livez")[0]
        way.pass_through()
        wait_until(lambda: webhook.post(inbound("back")).status == 204, 15, every=0.1)
        stopped = process.stop(signal.SIGTERM)
    published: set[str] = set()
    while message := amqp.get("test.events"):
        published.add(message.json["data"]["message_id"])

    assert (frozen.status, blocked.status, gone.status) == (503, 503, 503)
    assert all(answer.headers["Retry-After"] == "5" for answer in (frozen, blocked, gone))
    assert TIMEOUT <= frozen_took < TIMEOUT + 2
    assert blocked_took < 1
    assert gone_took < 1
    assert ready_while_blocked[0] == 503
    assert "alarm" in _publishing(ready_while_blocked[1])["detail"]
    assert alive == 200
    assert {"thawed", "calm", "back"} <= published
    assert stopped == 0


def test_a_confirm_that_comes_after_the_503_is_noted_and_the_repeat_is_no_second_event(
    start_ingest: StartIngest, amqp: BrokerClient, rabbitmq: Broker
) -> None:
    _, webhook = start_ingest()
    with rabbitmq.frozen():
        refused = [webhook.post(inbound("m1")).status for _ in range(2)]
    wait_until(lambda: webhook.post(inbound("m2")).status == 204, 15, every=0.1)
    repeat = webhook.post(inbound("m1")).status
    events = amqp.events(2)

    assert (refused, repeat) == ([503, 503], 204)
    assert [event["id"] for event in events] == [inbound_id(m) for m in ("m1", "m2")]
    assert amqp.depth("test.events") == 0


def timed(post: Callable[[], Reply]) -> tuple[Reply, float]:
    """Return the answer and the seconds it took."""
    began = time.monotonic()
    return post(), time.monotonic() - began


def test_without_a_broker_it_starts_listens_and_says_why_it_is_not_ready(start_ingest: StartIngest) -> None:
    process, webhook = start_ingest(ready=False, BRIDGE_BROKER__URL="amqp://guest:hunter2@127.0.0.1:1/")
    process.wait_answer("/livez", 200)
    status, body = process.admin("/readyz")
    answer = webhook.post(inbound("m1"))

    assert (status, _publishing(body)) == (503, {"ok": False, "detail": "no connection to the broker"})
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert "broker.unreachable" in process.logs
    assert process.stop(signal.SIGTERM) == 0


def _publishing(body: str) -> Any:
    return json.loads(body)["reasons"]["publishing"]


def test_a_request_in_flight_is_answered_before_sigterm_ends_the_process(
    start_ingest: StartIngest, amqp: BrokerClient
) -> None:
    process, webhook = start_ingest()
    body = json.dumps(inbound("m1")).encode()
    head = (
        f"POST {webhook.path} HTTP/1.1\r\nHost: bridge\r\nAuthorization: {SECRET}\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", webhook.port), timeout=10) as connection:
        connection.sendall(head.encode())
        # The go-ahead says that the request is in and that its body is waited for.
        go_ahead = connection.recv(1024)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: "process.stopping" in process.logs)
        connection.sendall(body)
        answer = connection.recv(1024)

    assert go_ahead.startswith(b"HTTP/1.1 100 ")
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert process.wait() == 0
    assert amqp.events(1)[0]["data"]["message_id"] == "m1"


def test_a_message_to_the_number_comes_all_the_way_from_the_provider(
    start_ingest: StartIngest,
    env: Mapping[str, str],
    provider: Provider,
    amqp: BrokerClient,
) -> None:
    _, webhook = start_ingest()
    url = f"http://127.0.0.1:{webhook.port}{webhook.path}"
    subscribing = {
        **env,
        "BRIDGE_SUBSCRIPTIONS__WEBHOOK_URL": url,
        "BRIDGE_INGEST__AUTHORIZATION": f"{SECRET},{OLD_SECRET}",
    }
    created = run("subscriptions", "create", env=subscribing)
    provider.post("inbound", {"from": "+16135550001", "to": "+16139998877", "message": "canary question"})
    (event,) = amqp.events(1)

    assert (created.code, created.stderr) == (0, "")
    assert event["type"] == "sms.inbound.received"
    data = event["data"]
    assert (data["sender_address"], data["destination_address"], data["message"], data["recovered"]) == (
        "+16135550001",
        "+16139998877",
        "canary question",
        False,
    )


def test_notification_with_another_authorization_is_refused(
    start_ingest: StartIngest,
    env: Mapping[str, str],
    provider: Provider,
    amqp: BrokerClient,
) -> None:
    process, webhook = start_ingest()
    url = f"http://127.0.0.1:{webhook.port}{webhook.path}"
    other = {
        **env,
        "BRIDGE_SUBSCRIPTIONS__WEBHOOK_URL": url,
        "BRIDGE_INGEST__AUTHORIZATION": "Bearer hunter2-other",
    }
    assert run("subscriptions", "create", env=other).code == 0
    provider.post("inbound", {"from": "+16135550001", "to": "+16139998877", "message": "canary question"})
    refused = re.compile(r'^sms_bridge_notifications_total\{code="401",type="none"\} [1-9]', re.MULTILINE)
    wait_until(lambda: refused.search(process.admin("/metrics")[1]))

    assert amqp.depth("test.events") == 0
