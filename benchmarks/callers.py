"""The provider's side of a webhook: posts notifications over persistent connections and prints the time of each.

A separate program: `python -m benchmarks.callers PORT CONNECTIONS NUMBER RATE FIRST`. With a rate (requests a second)
each is due at its time and measured from then, even if it is sent late; with 0 a connection posts after each response.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from tests.harness.webhook import inbound

SECRET = "Bearer bench"  # noqa: S105 - nobody else's


def _request(number: int) -> bytes:
    body = json.dumps(inbound(f"m-{number}", f"hello {number}")).encode()
    head = (
        "POST /inbound-sms/webhook HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"Authorization: {SECRET}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Caller(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._due = 0.0
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        """Note the answer; a good one has no body."""
        self._buffer += data
        if b"\r\n\r\n" not in self._buffer:
            return
        self._schedule.answered(self._buffer[9:12], time.perf_counter() - self._due)
        self._buffer = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the requests that a server left unanswered when it closed the connection."""
        self._schedule.answered(b"---", 0.0)

    def _next(self) -> None:
        number = self._schedule.take()
        if number is None:
            return
        self._due = self._schedule.due(number)
        wait = self._due - time.perf_counter()
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self._send, number)
        else:
            self._send(number)

    def _send(self, number: int) -> None:
        if not self._schedule.rate:
            self._due = time.perf_counter()
        self._transport.write(_request(self._schedule.first + number))  # type: ignore[attr-defined]  # a stream has it


class Schedule:
    """The schedule of the requests, and their results."""

    def __init__(self, number: int, rate: float, first: int) -> None:
        self.rate = rate
        self.first = first
        self._left = iter(range(number))
        self._number = number
        self._began = time.perf_counter()
        self.seconds: list[float] = []
        self.refused = 0
        self.over = asyncio.Event()

    def take(self) -> int | None:
        """Return the next request's number; None once all are out."""
        return next(self._left, None)

    def due(self, number: int) -> float:
        """Return when a request is to be sent."""
        return self._began + number / self.rate if self.rate else 0.0

    def answered(self, status: bytes, seconds: float) -> None:
        """Note an answer."""
        if status == b"204":
            self.seconds.append(seconds)
        else:
            self.refused += 1
        if len(self.seconds) + self.refused >= self._number:
            self.over.set()


async def _post(port: int, connections: int, number: int, rate: float, first: int) -> None:
    schedule = Schedule(number, rate, first)
    began = time.perf_counter()
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: Caller(schedule), "127.0.0.1", port)
    await schedule.over.wait()
    took = time.perf_counter() - began
    print(json.dumps({"took": took, "seconds": schedule.seconds, "refused": schedule.refused}))


if __name__ == "__main__":
    given_port, given_connections, given_number, given_rate, given_first = sys.argv[1:]
    asyncio.run(
        _post(int(given_port), int(given_connections), int(given_number), float(given_rate), int(given_first))
    )
