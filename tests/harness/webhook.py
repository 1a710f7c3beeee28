"""The provider's side of the webhook: one request at a time, on a connection of its own."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.domain.events import event_id
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.harness.processes import BridgeProcess


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """The address that notifications are posted to."""

    port: int
    path: str = "/inbound-sms/webhook"
    authorization: str | None = None

    def post(
        self, body: object, *, method: str = "POST", path: str | None = None, **headers: str | None
    ) -> Reply:
        """Send `body` (bytes as they are, the rest as JSON). A header is named as Python can; None leaves it out."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = {"Content-Type": "application/json", "Authorization": self.authorization}
        sent |= {name.replace("_", "-").title(): value for name, value in headers.items()}
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(
                method,
                path or self.path,
                body=raw,
                headers={name: value for name, value in sent.items() if value is not None},
            )
            answer = connection.getresponse()
            headers_back = {name.title(): value for name, value in answer.getheaders()}
            return Reply(answer.status, headers_back, answer.read())
        finally:
            connection.close()


def inbound(message_id: str, text: str = "hi there", **fields: object) -> dict[str, object]:
    """Return a notification of an inbound SMS (wire reference 7)."""
    message = {
        "dateTime": 1525895987,
        "destinationAddress": "+16137001234",
        "message": text,
        "messageId": message_id,
        "senderAddress": "+16139998877",
        **fields,
    }
    outer = {"inboundSMSMessage": message, "dateTime": 1525895987, "id": f"n-{message_id}"}
    return {"inboundSMSMessageNotification": outer}


def inbound_id(
    message_id: str,
    text: str = "hi there",
    *,
    to: str = "+16137001234",
    sender: str = "+16139998877",
) -> str:
    """Return the event id of an inbound SMS (specification 3.2), as of what `inbound` returns."""
    return event_id("sms.inbound.received", message_id, to, sender, text)


def listening_port(process: BridgeProcess, event: str = "ingest.listening") -> int:
    """Return the port that `process` logged it listens on."""

    def logged() -> int | None:
        if process.returncode is not None:
            raise AssertionError(f"bridge ended with {process.returncode}:\n{process.logs}")
        for line in process.logs.splitlines():
            if line.endswith("}") and (entry := json.loads(line))["event"] == event:
                return int(entry["port"])
        return None

    port = wait_until(logged, 20, what=f"{event} in the log")
    assert port is not None
    return port
