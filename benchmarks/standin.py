"""A stand-in for the provider that costs next to nothing, so that only its callers are measured.

It accepts any send after a fixed latency and answers as the provider does; it checks no token. It runs as a separate
program: `python -m benchmarks.standin SECONDS` prints its port.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import sys
import time
from collections import deque
from typing import ClassVar

#: How many of the last arrivals are kept for `GET /arrivals`.
KEPT = 2_000_000


def _token_answer() -> bytes:
    """Return tokens as the provider gives them; the user's name is in the second one (wire reference 2.2)."""

    def part(claims: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")

    claims = {"preferred_username": "bench", "dids": "+16135550100", "exp": 4_000_000_000}
    id_token = f"{part({'alg': 'none'})}.{part(claims)}."
    body = json.dumps(
        {"access_token": "bench", "id_token": id_token, "expires_in": 28_800, "token_type": "bearer"}
    )
    return body.encode()


TOKEN = _token_answer()
ACCEPTED = (
    '{"outboundSMSMessageRequest":{"address":["+16135550123"],"clientCorrelator":"bench",'
    '"deliveryInfoList":{"deliveryInfo":[{"address":"+16135550123","deliveryStatus":"DeliveredToNetwork"}],'
    '"resourceURL":"/cpaas/smsmessaging/v1/bench/remoteAddresses/+16135550123/messages/%s/deliveryInfos"},'
    '"outboundSMSTextMessage":{"message":"hi"},'
    '"resourceURL":"/cpaas/smsmessaging/v1/bench/remoteAddresses/+16135550123/localAddresses/+16135550100/messages/%s",'
    '"senderAddress":"+16135550100"}}'
)


def _answer(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class StandIn(asyncio.Protocol):
    """One connection: requests that come one after the other."""

    numbers = itertools.count(1)
    arrivals: ClassVar[deque[tuple[float, str]]] = deque(maxlen=KEPT)
    latency = 0.0

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self._buffer += data
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end]
            length = _content_length(head)
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            self._take(head, body)

    def _take(self, head: bytes, body: bytes) -> None:
        line = head[: head.find(b"\r\n")]
        if b"/outbound/" in line:
            self.arrivals.append((time.time(), _text(body)))
            number = f"SM{next(self.numbers)}"
            answer = _answer("201 Created", (ACCEPTED % (number, number)).encode())
            if self.latency:
                asyncio.get_running_loop().call_later(self.latency, self._write, answer)
            else:
                self._write(answer)
        elif b"/auth/" in line:
            self._write(_answer("200 OK", TOKEN))
        elif line.startswith(b"GET /arrivals"):
            arrived = [[at, text] for at, text in self.arrivals]
            self.arrivals.clear()
            self._write(_answer("200 OK", json.dumps(arrived).encode()))
        else:
            self._write(_answer("404 Not Found", b"{}"))

    def _write(self, answer: bytes) -> None:
        self._transport.write(answer)  # type: ignore[attr-defined]  # a stream has it


def _content_length(head: bytes) -> int:
    at = head.lower().find(b"content-length:")
    return int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


def _text(body: bytes) -> str:
    """Return the text of a message, by which a command is known again."""
    begin = body.find(b'"message":') + 10
    begin = body.find(b'"', begin) + 1
    return body[begin : body.find(b'"', begin)].decode("ascii", "replace")


async def _serve(latency: float) -> None:
    StandIn.latency = latency
    server = await asyncio.get_running_loop().create_server(StandIn, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1])))
