"""AMQP as bytes: puts commands on a queue, and takes them off, as fast as RabbitMQ itself can.

A client library builds objects for each message, which costs more than the broker's work for one. Here many
publishes go into one write to the socket, only the delivery tags of the answers are read, and memory is bounded: no
more than `WINDOW` messages wait for their confirm.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Self

import amqp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

METHOD, HEADER, BODY = 1, 2, 3
#: Methods of the class `basic`, by their numbers in AMQP 0-9-1.
BASIC, CONSUME, PUBLISH, DELIVER, ACK, NACK = 60, 20, 40, 60, 80, 120
#: Messages in one write.
CHUNK = 500
#: Messages that may wait for their confirm, or for our acknowledgement.
WINDOW = 10_000


class Wire:
    """A connection whose one channel confirms, used without a client library once it is open."""

    def __init__(self, port: int, host: str) -> None:
        self._connection = amqp.Connection(
            f"127.0.0.1:{port}", virtual_host=host, userid="guest", password="guest", heartbeat=0
        )
        self._buffer = b""

    def __enter__(self) -> Self:
        self._connection.connect()
        channel = self._connection.channel()
        channel.confirm_select()
        channel.basic_qos(0, WINDOW, a_global=False)
        self._number: int = channel.channel_id
        self._socket = self._connection.transport.sock
        self._socket.settimeout(120)
        return self

    def __exit__(self, *_: object) -> None:
        # Not closed in order: what library and socket have read would have to be put together again.
        self._socket.close()

    def publish(
        self, exchange: str, key: str, bodies: Iterable[bytes], done: Callable[[int], None] | None = None
    ) -> None:
        """Publish messages and wait until all are confirmed; `done` gets the number sent after each step."""
        method = self._frame(
            METHOD, struct.pack(">HHH", BASIC, PUBLISH, 0) + _short(exchange) + _short(key) + b"\0"
        )
        sent = confirmed = 0
        for chunk in _chunks(bodies):
            self._socket.sendall(b"".join(method + self._content(body) for body in chunk))
            sent += len(chunk)
            while sent - confirmed > WINDOW:
                confirmed = max(self._tags(ACK))
            if done is not None:
                done(len(chunk))
        while confirmed < sent:
            confirmed = max(self._tags(ACK))

    def drain(self, queue: str, number: int) -> None:
        """Take so many messages off a queue and acknowledge them, half a window at a time."""
        consume = struct.pack(">HHH", BASIC, CONSUME, 0) + _short(queue) + _short("drain") + b"\0" + bytes(4)
        self._socket.sendall(self._frame(METHOD, consume))
        acknowledged = last = 0
        while last < number:
            last = max(self._tags(DELIVER))
            if last - acknowledged >= WINDOW // 2 or last >= number:
                multiple = struct.pack(">HHQB", BASIC, ACK, last, 1)
                self._socket.sendall(self._frame(METHOD, multiple))
                acknowledged = last

    def _content(self, body: bytes) -> bytes:
        """Return header and body of a persistent JSON message."""
        header = struct.pack(">HHQH", BASIC, 0, len(body), 0x9000) + _short("application/json") + b"\2"
        return self._frame(HEADER, header) + self._frame(BODY, body)

    def _frame(self, kind: int, payload: bytes) -> bytes:
        return struct.pack(">BHI", kind, self._number, len(payload)) + payload + b"\xce"

    def _tags(self, wanted: int) -> list[int]:
        """Read until there is a `wanted` method, then return the delivery tags of all that have come."""
        tags: list[int] = []
        while not tags:
            got = self._socket.recv(1 << 20)
            if not got:
                raise ConnectionError("the broker closed the connection")
            self._buffer += got
            tags += [_tag(method, wanted) for method in self._methods() if method[2:4] == _two(wanted)]
        return tags

    def _methods(self) -> Iterator[bytes]:
        """Yield the payloads of the method frames that are whole."""
        begin, buffered = 0, self._buffer
        while begin + 8 <= len(buffered):
            kind, _, size = struct.unpack_from(">BHI", buffered, begin)
            if begin + size + 8 > len(buffered):
                break
            if kind == METHOD:
                payload = buffered[begin + 7 : begin + 7 + size]
                if payload[2:4] == _two(NACK):
                    raise RuntimeError("the broker refused a message")
                yield payload
            begin += size + 8
        self._buffer = buffered[begin:]


def _tag(method: bytes, wanted: int) -> int:
    """Return the delivery tag, which in a delivery stands behind the consumer's name."""
    begin = 4 if wanted == ACK else 5 + method[4]
    tag: int = struct.unpack_from(">Q", method, begin)[0]
    return tag


def _two(number: int) -> bytes:
    return struct.pack(">H", number)


def _short(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def _chunks(bodies: Iterable[bytes]) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    for body in bodies:
        chunk.append(body)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
