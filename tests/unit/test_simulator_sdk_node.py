"""The requests of the provider's Node.js SDK 1.2.3, replayed as it writes them, and what it reads of the answers.

Header by header they are axios 0.21.1's. The SDK asks for its token with ``Authorization: Bearer null``, since it sets
that header on every call (wire reference 2.1).
"""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from bridge.simulator import Simulator
from tests.unit.simulated import NUMBER, REMOTE

if TYPE_CHECKING:
    from collections.abc import Iterator

HOOK = "http://127.0.0.1:9/hook"
CORRELATOR = "PRIV-1-node"
THREAD = f"/cpaas/smsmessaging/v1/{{user}}/remoteAddresses/{REMOTE}/localAddresses/{NUMBER}"


class NodeSdk:
    """Writes what the SDK writes, on connections of its own as axios does."""

    def __init__(self, url: str) -> None:
        self._netloc = url.removeprefix("http://")
        self._access_token = "null"
        self._user_id = ""

    def log_in(self, form: str) -> dict[str, Any]:
        headers = self._headers() | {"Content-Type": "application/x-www-form-urlencoded"}
        status, tokens = self._exchange("POST", "/cpaas/auth/v1/token", headers, form)
        assert status == 200
        self._access_token = tokens["access_token"]
        claims = jwt.decode(tokens["id_token"], options={"verify_signature": False})
        self._user_id = claims["preferred_username"]
        return dict(tokens)

    def send_request(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Call as `api.sendRequest` does: with a content type even where there is no body."""
        text = None if body is None else json.dumps(body, separators=(",", ":"), ensure_ascii=False)
        return self._exchange(method, path.replace("{user}", self._user_id), self._headers(), text)

    def _headers(self) -> dict[str, str]:
        return {
            "Accept": "application/json, text/plain, */*",
            "X-Cpaas-Agent": "nodejs-sdk/1.2.3",
            "Content-Type": "application/json",
            "Authorization": f"Bearer {self._access_token}",
            "User-Agent": "axios/0.21.1",
            "Connection": "keep-alive",
        }

    def _exchange(self, method: str, path: str, headers: dict[str, str], body: str | None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self._netloc, timeout=5)
        try:
            connection.request(method, path, body and body.encode(), headers)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None
        finally:
            connection.close()


@pytest.fixture
def sdk() -> Iterator[NodeSdk]:
    with Simulator() as simulator:
        sdk = NodeSdk(simulator.url)
        sdk.log_in("client_id=PRIV-1&scope=openid&grant_type=client_credentials&client_secret=s")
        yield sdk


def create_message(sdk: NodeSdk, message: str = "hi", sender: str = NUMBER) -> tuple[int, Any]:
    body = {
        "outboundSMSMessageRequest": {
            "address": [REMOTE],
            "clientCorrelator": CORRELATOR,
            "outboundSMSTextMessage": {"message": message},
        }
    }
    return sdk.send_request("POST", f"/cpaas/smsmessaging/v1/{{user}}/outbound/{sender}/requests", body)


def create_channel(sdk: NodeSdk) -> tuple[int, Any]:
    body = {
        "notificationChannel": {
            "channelData": {"x-webhookURL": HOOK},
            "channelType": "webhooks",
            "clientCorrelator": CORRELATOR,
        }
    }
    return sdk.send_request("POST", "/cpaas/notificationchannel/v1/{user}/channels", body)


@pytest.mark.parametrize(
    "form",
    [
        "client_id=PRIV-1&scope=openid&grant_type=client_credentials&client_secret=s",
        "client_id=PUB-1&scope=openid&grant_type=password&username=a%40example.com&password=p%26p",
    ],
)
def test_token_with_either_grant(sdk: NodeSdk, form: str) -> None:
    tokens = sdk.log_in(form)

    assert {"access_token", "id_token"} <= tokens.keys()


@pytest.mark.parametrize("sender", [NUMBER, "default"])
def test_create_message(sdk: NodeSdk, sender: str) -> None:
    status, answer = create_message(sdk, "Hi \u00e9", sender)
    request = answer["outboundSMSMessageRequest"]

    assert status == 201
    assert request["deliveryInfoList"]["deliveryInfo"] == [
        {"address": REMOTE, "deliveryStatus": "DeliveredToNetwork"}
    ]
    assert request["outboundSMSTextMessage"] == {"message": "Hi \u00e9"}
    assert (request["senderAddress"], request["clientCorrelator"]) == (NUMBER, CORRELATOR)


def test_get_messages_get_messages_in_thread_and_get_status(sdk: NodeSdk) -> None:
    create_message(sdk)
    _, threads = sdk.send_request("GET", "/cpaas/smsmessaging/v1/{user}/remoteAddresses")
    _, thread = sdk.send_request("GET", THREAD)
    _, messages = sdk.send_request("GET", THREAD + "/messages?max=10")
    (message,) = messages["smsMessageList"]["smsMessage"]
    _, status = sdk.send_request("GET", f"{THREAD}/messages/{message['messageId']}/status")

    assert len(threads["smsThreadList"]["smsThread"]) == 1
    assert thread["smsThread"]["remoteAddress"] == REMOTE
    assert message["message"] == "hi"
    assert status == {"status": "DeliveredToNetwork"}


def test_delete_message(sdk: NodeSdk) -> None:
    create_message(sdk)

    assert sdk.send_request("DELETE", THREAD) == (204, None)
    assert sdk.send_request("DELETE", THREAD)[0] == 404


def test_subscribe_get_subscriptions_and_unsubscribe(sdk: NodeSdk) -> None:
    _, channel = create_channel(sdk)
    wish = {
        "callbackReference": {"notifyURL": channel["notificationChannel"]["callbackURL"]},
        "clientCorrelator": CORRELATOR,
        "destinationAddress": NUMBER,
    }
    base = "/cpaas/smsmessaging/v1/{user}/inbound/subscriptions"
    status, made = sdk.send_request("POST", base, {"subscription": wish})
    one = f"{base}/{made['subscription']['resourceURL'].split('/')[-1]}"
    _, listed = sdk.send_request("GET", base)

    assert (status, made["subscription"]["destinationAddress"]) == (201, NUMBER)
    assert listed["subscriptionList"]["subscription"] == [made["subscription"]]
    assert sdk.send_request("GET", one) == (200, made)
    assert sdk.send_request("DELETE", one) == (204, None)
    assert sdk.send_request("GET", base)[1]["subscriptionList"]["subscription"] == []


def test_channels_refresh_channel_and_remove_channel(sdk: NodeSdk) -> None:
    status, made = create_channel(sdk)
    channel = made["notificationChannel"]
    base = "/cpaas/notificationchannel/v1/{user}/channels"
    one = f"{base}/{channel['callbackURL']}"
    lifetime = {"notificationChannelLifetime": {"channelLifetime": 3600}}

    assert status == 201
    assert (channel["channelData"], channel["channelType"]) == ({"x-webhookURL": HOOK}, "webhooks")
    assert sdk.send_request("GET", one) == (200, made)
    assert sdk.send_request("PUT", one, lifetime) == (200, lifetime)
    assert sdk.send_request("DELETE", one) == (204, None)
