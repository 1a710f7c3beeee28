"""The provider's own Python SDK, unchanged, against the simulator (wire reference 10 lists the SDK's own bugs)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cpaassdk
import pytest

from bridge.simulator import Simulator
from tests.harness.waiting import wait_until
from tests.unit.simulated import NUMBER, REMOTE, Client, Webhook

if TYPE_CHECKING:
    from collections.abc import Iterator

TYPE = {"type": "sms"}
THREAD = TYPE | {"remote_address": REMOTE, "local_address": NUMBER}


@pytest.fixture
def url() -> Iterator[str]:
    with Simulator() as simulator:
        yield simulator.url


@pytest.fixture(params=["project", "account"])
def sdk(url: str, request: pytest.FixtureRequest) -> Any:
    if request.param == "project":
        return cpaassdk.Client({"client_id": "PRIV-1", "client_secret": "s", "base_url": url})
    return cpaassdk.Client({"client_id": "PUB-1", "email": "a@example.com", "password": "p", "base_url": url})


@pytest.fixture
def conversation(sdk: Any) -> Any:
    return sdk.conversation


def send(conversation: Any, **changes: object) -> Any:
    message = {"destination_address": REMOTE, "sender_address": NUMBER, "message": "hi"}
    return conversation.create_message(TYPE | message | changes)


@pytest.mark.parametrize("destination", [REMOTE, [REMOTE]])
def test_create_message(conversation: Any, destination: object) -> None:
    sent = send(
        conversation, destination_address=destination, sender_address="default", message="Hi \U0001f44b"
    )

    assert sent == {
        "message": "Hi \U0001f44b",
        "sender_address": NUMBER,
        "delivery_info": [{"address": REMOTE, "delivery_status": "DeliveredToNetwork"}],
    }


def test_create_message_that_can_not_be_delivered(conversation: Any) -> None:
    sent = send(conversation, destination_address="+18885550123")

    assert sent["delivery_info"][0]["delivery_status"] == "DeliveryImpossible"


def test_errors_are_understood(conversation: Any) -> None:
    assert send(conversation, destination_address="+19995550123") == {
        "name": "service_exception",
        "exception_id": "SVC0002",
        "message": "Invalid input value for message part address",
    }
    assert send(conversation, sender_address="+16130000000") == {
        "name": "policy_exception",
        "exception_id": "POL0001",
        "message": "A policy error occurred. Error code is Forbidden",
    }


def test_wrong_credentials_leave_the_sdk_without_a_user(url: str) -> None:
    sdk = cpaassdk.Client({"client_id": "PRIV-1", "client_secret": "wrong", "base_url": url})

    assert sdk.conversation.api.user_id is None


def test_get_messages(conversation: Any) -> None:
    send(conversation)
    (thread,) = conversation.get_messages(TYPE)

    assert (thread["remote_address"], thread["local_address"]) == (REMOTE, NUMBER)
    assert thread["thread_details"]["last_text"] == "hi"
    assert conversation.get_messages(TYPE | {"remote_address": REMOTE}) == [thread]


def test_get_messages_in_thread_and_get_status(conversation: Any) -> None:
    send(conversation, message="one")
    send(conversation, message="two")
    (message,) = conversation.get_messages_in_thread(THREAD | {"query": {"max": 1}})

    assert (message["type"], message["message"], message["status"]) == (
        "Outbound",
        "two",
        "DeliveredToNetwork",
    )
    assert conversation.get_status(THREAD | {"message_id": message["message_id"]}) == "DeliveredToNetwork"


def test_delete_message_deletes_though_the_sdk_fails_on_the_204(conversation: Any) -> None:
    send(conversation)
    with pytest.raises(IndexError):
        conversation.delete_message(THREAD)

    assert conversation.get_messages(TYPE) == []


def test_subscribe_get_subscriptions_and_unsubscribe(conversation: Any) -> None:
    made = conversation.subscribe(
        TYPE | {"webhook_url": "http://127.0.0.1:9/hook", "destination_address": NUMBER}
    )
    (listed,) = conversation.get_subscriptions(TYPE)
    ended = conversation.unsubscribe(TYPE | {"subscription_id": made["subscription_id"]})

    assert (made["webhook_url"], made["destination_address"]) == ("http://127.0.0.1:9/hook", NUMBER)
    assert (listed["subscription_id"], listed["destination_address"]) == (made["subscription_id"], NUMBER)
    assert listed["channel_id"].startswith("wh-")
    assert ended["success"]
    assert conversation.get_subscriptions(TYPE) == []


def test_subscribe_without_a_number_means_the_default_one(conversation: Any) -> None:
    made = conversation.subscribe(TYPE | {"webhook_url": "http://127.0.0.1:9/hook"})

    assert made["destination_address"] == NUMBER


def test_notifications_are_parsed(sdk: Any, conversation: Any, url: str) -> None:
    with Webhook() as webhook, Client(url) as client:
        made = conversation.subscribe(TYPE | {"webhook_url": webhook.url, "destination_address": NUMBER})
        client.control("inbound", {"from": REMOTE, "message": "in"})
        send(conversation, message="out")
        wait_until(lambda: len(webhook.received) == 2)
        client.control("unassign", {"number": NUMBER})
        wait_until(lambda: len(webhook.received) == 3)
        parsed = {
            note["type"]: note for note in (sdk.notification.parse(body) for _, body in webhook.received)
        }

    # The SDK leaves the message itself nested.
    assert parsed["inbound"]["inbound_sms_message"]["sender_address"] == REMOTE
    assert parsed["outbound"]["outbound_sms_message"]["message"] == "out"
    assert parsed["subscriptionCancel"]["subscription_id"] == made["subscription_id"]
