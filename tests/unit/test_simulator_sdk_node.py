"""Requests of the provider's Node.js SDK 1.2.3, replayed byte by byte, and its reading of the responses.

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
    """A client that writes the SDK's requests, on new connections like axios."""

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
        """Call like `api.sendRequest`: with a content type even without a body."""
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


def test_message_of_the_sdk_is_sent_read_and_deleted(sdk: NodeSdk) -> None:
    for sender in (NUMBER, "default"):
        status, answer = create_message(sdk, "Hi \u00e9", sender)
        request = answer["outboundSMSMessageRequest"]

        assert (status, request["senderAddress"], request["clientCorrelator"]) == (201, NUMBER, CORRELATOR)
    _, messages = sdk.send_request("GET", THREAD + "/messages?max=10")
    read = messages["smsMessageList"]["smsMessage"]
    _, status = sdk.send_request("GET", f"{THREAD}/messages/{read[0]['messageId']}/status")

    assert [message["message"] for message in read] == ["Hi \u00e9"] * 2
    assert status == {"status": "DeliveredToNetwork"}
    assert sdk.send_request("DELETE", THREAD) == (204, None)


def test_channel_and_a_subscription_of_the_sdk_are_made_refreshed_and_removed(sdk: NodeSdk) -> None:
    data = {"channelData": {"x-webhookURL": HOOK}, "channelType": "webhooks", "clientCorrelator": CORRELATOR}
    base = "/cpaas/notificationchannel/v1/{user}/channels"
    created, made = sdk.send_request("POST", base, {"notificationChannel": data})
    channel = made["notificationChannel"]["callbackURL"]
    lifetime = {"notificationChannelLifetime": {"channelLifetime": 3600}}
    wish = {
        "callbackReference": {"notifyURL": channel},
        "clientCorrelator": CORRELATOR,
        "destinationAddress": NUMBER,
    }
    subscriptions = "/cpaas/smsmessaging/v1/{user}/inbound/subscriptions"
    subscribed, subscription = sdk.send_request("POST", subscriptions, {"subscription": wish})
    one = f"{subscriptions}/{subscription['subscription']['resourceURL'].split('/')[-1]}"

    assert (created, subscribed) == (201, 201)
    assert sdk.send_request("GET", f"{base}/{channel}") == (200, made)
    assert sdk.send_request("PUT", f"{base}/{channel}", lifetime) == (200, lifetime)
    assert sdk.send_request("GET", one) == (200, subscription)
    assert sdk.send_request("DELETE", one) == (204, None)
    assert sdk.send_request("DELETE", f"{base}/{channel}") == (204, None)
