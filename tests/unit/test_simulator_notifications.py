"""The simulator's channels, subscriptions and notifications."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from bridge.simulator import Simulator, SimulatorSettings
from tests.fakes.clock import HandClock
from tests.harness.waiting import wait_until
from tests.unit.simulated import NUMBER, OTHER, REMOTE, Client, Webhook

if TYPE_CHECKING:
    from collections.abc import Iterator

CHANNELS = "notificationchannel/v1/{}/channels"
SUBSCRIPTIONS = "smsmessaging/v1/{}/inbound/subscriptions"


@pytest.fixture
def clock() -> HandClock:
    return HandClock(1_700_000_000.0)


@pytest.fixture
def client(clock: HandClock) -> Iterator[Client]:
    with (
        Simulator(SimulatorSettings(notify_backoff=0.01), clock=clock) as simulator,
        Client(simulator.url) as client,
    ):
        yield client


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with Webhook() as webhook:
        yield webhook


def open_channel(client: Client, url: str = "http://127.0.0.1:9/x", **changes: Any) -> Any:
    channel = {
        "channelData": {"x-webhookURL": url},
        "channelType": "webhooks",
        "clientCorrelator": "c",
    } | changes
    return client.call("POST", CHANNELS, json={"notificationChannel": channel})


# -- channels and subscriptions --------------------------------------------------------------------


def test_channel_is_made_shown_listed_and_closed(client: Client) -> None:
    data = {"x-webhookURL": "http://127.0.0.1:9/x", "x-authorization": "Bearer secret"}
    made = open_channel(client, channelData=data)
    channel = made.json()["notificationChannel"]
    path = f"{CHANNELS}/{channel['callbackURL']}"
    listed = client.call("GET", CHANNELS, params={"clientCorrelator": "c", "channelType": "Webhooks"}).json()
    others = client.call("GET", CHANNELS, params={"clientCorrelator": "d"}).json()

    assert made.status_code == 201
    assert channel["callbackURL"].startswith("wh-")
    assert (channel["channelData"], channel["channelType"]) == (data, "webhooks")
    assert client.call("GET", path).json()["notificationChannel"] == channel
    assert listed["notificationChannelList"]["notificationChannel"] == [channel]
    assert others["notificationChannelList"]["notificationChannel"] == []
    assert [client.call(method, path).status_code for method in ("DELETE", "DELETE", "GET")] == [
        204,
        404,
        404,
    ]


@pytest.mark.parametrize("suffix", ["", "/channelLifetime"])
def test_lifetime_can_be_set_at_both_paths_and_ends_the_channel(
    client: Client, clock: HandClock, suffix: str
) -> None:
    path = f"{CHANNELS}/{open_channel(client).json()['notificationChannel']['callbackURL']}"
    lifetime = {"notificationChannelLifetime": {"channelLifetime": 3600}}
    answer = client.call("PUT", path + suffix, json=lifetime)
    clock.pass_by(3599)
    alive = client.call("GET", path).status_code
    clock.pass_by(1)

    assert (answer.status_code, answer.json()) == (200, lifetime)
    assert (alive, client.call("GET", path).status_code) == (200, 404)


@pytest.mark.parametrize(
    "changes",
    [
        {"channelType": "Websockets"},
        {"channelData": {"x-webhookURL": "http://203.0.113.7/x"}},
        {"channelData": {"x-webhookURL": "http://127.0.0.1.example.com/x"}},
        {"channelData": {"x-webhookURL": "ftp://127.0.0.1/x"}},
        {"channelData": {"x-webhookURL": "http://127.0.0.1/a b"}},
        {"channelData": {"x-webhookURL": "http://127.0.0.1:port/"}},
        {"channelData": {"x-webhookURL": "http://127.0.0.1/x", "x-authorization": "a\r\nX-B: c"}},
        {"channelData": {}},
        {"colour": "red"},
    ],
)
def test_invalid_channel_is_refused(client: Client, changes: dict[str, Any]) -> None:
    assert open_channel(client, **changes).status_code == 400


def test_foreign_webhook_hosts_are_accepted_only_if_configured() -> None:
    with Simulator(SimulatorSettings(external_webhooks=True)) as simulator, Client(simulator.url) as client:
        assert open_channel(client, "https://example.com/hook").status_code == 201


def test_subscription_is_made_shown_listed_and_ended(client: Client) -> None:
    channel_id = open_channel(client).json()["notificationChannel"]["callbackURL"]
    wish = {"callbackReference": {"notifyURL": channel_id}, "clientCorrelator": "c"}
    made = client.call("POST", SUBSCRIPTIONS, json={"subscription": wish})
    subscription = made.json()["subscription"]
    path = f"{SUBSCRIPTIONS}/{subscription['resourceURL'].rpartition('/')[2]}"
    listed = client.call("GET", SUBSCRIPTIONS).json()["subscriptionList"]

    assert made.status_code == 201
    assert subscription == wish | {"destinationAddress": NUMBER, "resourceURL": subscription["resourceURL"]}
    assert client.call("GET", path).json()["subscription"] == subscription
    assert listed["subscription"] == [subscription]
    assert [client.call(method, path).status_code for method in ("DELETE", "DELETE", "GET")] == [
        204,
        404,
        404,
    ]
    assert client.call("GET", SUBSCRIPTIONS).json()["subscriptionList"]["subscription"] == []


def test_subscription_needs_a_channel_and_a_number_of_the_account(client: Client) -> None:
    channel_id = open_channel(client).json()["notificationChannel"]["callbackURL"]
    foreign = {"callbackReference": {"notifyURL": channel_id}, "destinationAddress": "+16130000000"}
    nowhere = {"callbackReference": {"notifyURL": "wh-none"}}

    assert client.call("POST", SUBSCRIPTIONS, json={"subscription": foreign}).status_code == 403
    assert client.call("POST", SUBSCRIPTIONS, json={"subscription": nowhere}).status_code == 400


def test_delivery_receipts_are_not_supported(client: Client) -> None:
    answer = client.call("POST", "smsmessaging/v1/{}/outbound/{}/subscriptions", json={})

    assert answer.json()["requestError"]["serviceException"]["messageId"] == "SVC0283"


# -- notifications ---------------------------------------------------------------------------------


def test_inbound_sms_reaches_the_webhook_with_the_channels_authorization(
    client: Client, webhook: Webhook
) -> None:
    client.subscribe(webhook.url, authorization="Bearer shared")
    message_id = client.control("inbound", {"from": REMOTE, "to": NUMBER, "message": "h\u00e9llo"})[
        "message_id"
    ]
    wait_until(lambda: webhook.received)
    ((headers, body),) = webhook.received
    note = body["inboundSMSMessageNotification"]

    assert (headers["Authorization"], headers["Content-Type"]) == ("Bearer shared", "application/json")
    assert note["inboundSMSMessage"] == {
        "dateTime": 1_700_000_000,
        "destinationAddress": NUMBER,
        "message": "h\u00e9llo",
        "messageId": message_id,
        "senderAddress": REMOTE,
    }
    assert note["dateTime"] == 1_700_000_000
    assert len(note["id"]) == 36


def test_accepted_send_is_notified_to_the_subscribers_of_its_number(client: Client, webhook: Webhook) -> None:
    client.subscribe(webhook.url)
    client.send("not theirs", sender=OTHER)
    client.send("theirs")
    wait_until(lambda: webhook.received)
    ((headers, body),) = webhook.received

    assert "Authorization" not in headers
    assert body["outboundSMSMessageNotification"]["outboundSMSMessage"] == {
        "dateTime": 1_700_000_000,
        "destinationAddress": REMOTE,
        "message": "theirs",
        "messageId": client.journal()[1]["message_id"],
        "senderAddress": NUMBER,
    }


def test_send_with_a_lost_response_is_notified(client: Client, webhook: Webhook) -> None:
    client.subscribe(webhook.url)
    client.control("faults", [{"name": "accept-500"}])
    client.send()

    wait_until(lambda: webhook.of_type("outboundSMSMessageNotification"))


def test_removed_number_cancels_its_subscriptions(client: Client, webhook: Webhook) -> None:
    url = client.subscribe(webhook.url)
    client.control("unassign", {"number": NUMBER})
    wait_until(lambda: webhook.received)
    (note,) = webhook.of_type("smsSubscriptionCancellationNotification")
    default = client.send(sender="default").json()["outboundSMSMessageRequest"]["senderAddress"]
    gone = client.send().status_code
    client.control("assign", {"number": NUMBER})

    assert note["link"] == [{"href": url, "rel": "Subscription"}]
    assert client.call("GET", SUBSCRIPTIONS).json()["subscriptionList"]["subscription"] == []
    assert (default, gone, client.send().status_code) == (OTHER, 403, 201)


def test_deleted_message_is_notified_as_an_event(client: Client, webhook: Webhook) -> None:
    client.send()
    message_id = client.journal()[0]["message_id"]
    client.subscribe(webhook.url)
    path = f"smsmessaging/v1/{{}}/remoteAddresses/{REMOTE}/localAddresses/{NUMBER}/messages/{message_id}"
    client.call("DELETE", path)
    wait_until(lambda: webhook.received)
    (note,) = webhook.of_type("smsEventNotification")

    assert note["eventType"] == "MessageDeleted"
    assert note["link"] == [{"href": f"/cpaas/{path.replace('{}', client.user_id)}", "rel": "smsMessage"}]
    assert note["dateTime"] == 1_700_000_000_000


def test_status_and_anything_else_can_be_posted(client: Client, webhook: Webhook) -> None:
    client.subscribe(webhook.url)
    client.send()
    message_id = client.journal()[0]["message_id"]
    client.control("status", {"message_id": message_id, "status": "DeliveredToTerminal", "notify": True})
    client.control("notify", {"pingNotification": {"id": "p"}})
    wait_until(lambda: len(webhook.received) == 3)
    (info,) = webhook.of_type("deliveryInfoNotification")

    assert info["deliveryInfo"] == {
        "address": REMOTE,
        "deliveryStatus": "DeliveredToTerminal",
        "messageId": message_id,
    }
    assert webhook.of_type("pingNotification") == [{"id": "p"}]


def test_notification_is_posted_until_it_is_answered_2xx(client: Client, webhook: Webhook) -> None:
    webhook.statuses += [503, 302, 401]
    client.subscribe(webhook.url)
    client.control("inbound", {"from": REMOTE, "message": "hi"})
    wait_until(lambda: client.control("notifications")[0]["status"] == 204)

    assert client.control("notifications")[0]["attempts"] == 4
    assert len({body["inboundSMSMessageNotification"]["id"] for _, body in webhook.received}) == 1


def test_without_retries_it_is_posted_once(client: Client, webhook: Webhook) -> None:
    webhook.statuses += [503]
    client.control("settings", {"notify_attempts": 1})
    client.subscribe(webhook.url)
    client.control("inbound", {"from": REMOTE, "message": "lost"})
    wait_until(lambda: client.control("notifications")[0]["status"] == 503)
    client.control("inbound", {"from": REMOTE, "message": "kept"})
    wait_until(lambda: len(webhook.received) == 2)

    assert [note["attempts"] for note in client.control("notifications")] == [1, 1]


def test_unavailable_webhook_gets_the_notification_when_available(client: Client) -> None:
    client.subscribe("http://127.0.0.1:9/x")
    client.control("inbound", {"from": REMOTE, "message": "hi"})
    wait_until(lambda: client.control("notifications")[0]["attempts"] > 2)

    assert client.control("notifications")[0]["status"] is None


def test_every_subscription_and_every_copy_is_one_post(client: Client, webhook: Webhook) -> None:
    client.control("settings", {"notify_copies": 2})
    for _ in range(2):
        client.subscribe(webhook.url)
    client.control("inbound", {"from": REMOTE, "message": "hi"})
    wait_until(lambda: len(webhook.received) == 4)
    ids = Counter(note["id"] for note in webhook.of_type("inboundSMSMessageNotification"))

    assert list(ids.values()) == [4]


def test_order_of_notifications_can_be_random(client: Client, webhook: Webhook) -> None:
    client.control("settings", {"notify_jitter": 0.2})
    client.subscribe(webhook.url)
    sent = [client.control("inbound", {"from": REMOTE, "message": "hi"})["message_id"] for _ in range(20)]
    wait_until(lambda: len(webhook.received) == 20)
    notes = webhook.of_type("inboundSMSMessageNotification")
    notified = [note["inboundSMSMessage"]["messageId"] for note in notes]

    assert sorted(notified) == sorted(sent)
    assert notified != sent


def test_closed_channel_receives_nothing(client: Client, webhook: Webhook) -> None:
    client.subscribe(webhook.url)
    channels = client.call("GET", CHANNELS).json()["notificationChannelList"]["notificationChannel"]
    client.call("DELETE", f"{CHANNELS}/{channels[0]['callbackURL']}")
    client.control("inbound", {"from": REMOTE, "message": "hi"})

    assert client.control("notifications") == []
    assert len(client.call("GET", SUBSCRIPTIONS).json()["subscriptionList"]["subscription"]) == 1
