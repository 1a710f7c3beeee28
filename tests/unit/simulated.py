"""Shared set-up of the simulator's tests: a client of its API, a webhook and a manual clock."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import jwt
import requests

if TYPE_CHECKING:
    from collections.abc import Mapping

NUMBER = "+16139998877"
OTHER = "+16139998878"
REMOTE = "+16131112222"


class Client:
    """A client of the API that sends canonical requests and retries nothing."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()
        self._session.trust_env = False
        self.log_in()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def log_in(self, **changes: str) -> requests.Response:
        form = {
            "client_id": "PRIV-1",
            "client_secret": "s",
            "grant_type": "client_credentials",
            "scope": "openid",
        }
        answer = self._session.post(f"{self.url}/cpaas/auth/v1/token", data=form | changes, timeout=5)
        if answer.ok:
            self.tokens = answer.json()
            self.user_id = jwt.decode(self.tokens["id_token"], options={"verify_signature": False})[
                "preferred_username"
            ]
        return answer

    def call(self, method: str, path: str, *, timeout: float = 5, **options: Any) -> requests.Response:
        """Call a path under `/cpaas`, in which ``{}`` is the user id."""
        headers = {"Authorization": f"Bearer {self.tokens['access_token']}"} | options.pop("headers", {})
        url = self.url + "/cpaas/" + path.replace("{}", self.user_id)
        return self._session.request(method, url, headers=headers, timeout=timeout, **options)

    def send(
        self,
        text: str = "hi",
        *,
        to: str = REMOTE,
        sender: str = NUMBER,
        timeout: float = 5,
        correlator: object = "c",
    ) -> requests.Response:
        message = {
            "address": [to],
            "clientCorrelator": correlator,
            "outboundSMSTextMessage": {"message": text},
        }
        path = f"smsmessaging/v1/{{}}/outbound/{sender}/requests"
        return self.call("POST", path, json={"outboundSMSMessageRequest": message}, timeout=timeout)

    def read(self, path: str = "", **query: object) -> requests.Response:
        """Read the history under `remoteAddresses`."""
        return self.call("GET", f"smsmessaging/v1/{{}}/remoteAddresses{path}", params=query)

    def subscribe(self, url: str, *, authorization: str | None = None, number: str = NUMBER) -> str:
        """Open a channel, subscribe it to a number and return the subscription's path."""
        data = {"x-webhookURL": url} | ({} if authorization is None else {"x-authorization": authorization})
        channel = {"channelData": data, "channelType": "webhooks", "clientCorrelator": "c"}
        opened = self.call(
            "POST", "notificationchannel/v1/{}/channels", json={"notificationChannel": channel}
        )
        wish = {
            "callbackReference": {"notifyURL": opened.json()["notificationChannel"]["callbackURL"]},
            "clientCorrelator": "c",
            "destinationAddress": number,
        }
        made = self.call("POST", "smsmessaging/v1/{}/inbound/subscriptions", json={"subscription": wish})
        return str(made.json()["subscription"]["resourceURL"])

    def control(self, path: str, value: object = None) -> Any:
        """Post `value` to one of the simulator's control endpoints, or read it without a value."""
        url = f"{self.url}/_simulator/{path}"
        answer = (
            self._session.get(url, timeout=5)
            if value is None
            else self._session.post(url, json=value, timeout=5)
        )
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def journal(self) -> list[dict[str, Any]]:
        return list(self.control("journal"))


@dataclass
class Webhook:
    """A server that keeps posted bodies and answers with the next of `statuses`, or 204."""

    statuses: list[int] = field(default_factory=list)
    received: list[tuple[Mapping[str, str], dict[str, Any]]] = field(default_factory=list)

    def __enter__(self) -> Self:
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                webhook.received.append((dict(self.headers), json.loads(body)))
                self.send_response(webhook.statuses.pop(0) if webhook.statuses else 204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def of_type(self, name: str) -> list[dict[str, Any]]:
        """Return the contents of the notifications of one type."""
        return [body[name] for _, body in self.received if name in body]
