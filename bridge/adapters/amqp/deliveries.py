"""Deliveries: read as far as they can be (AMQP 0-9-1 sections 4.2.5 and 4.2.6), and held until they are settled.

py-amqp fails on text that is not UTF-8, on times past the year 9999 and on types it does not know. That would cost the
connection, and again on each redelivery: one bad message would stop every worker. An unreadable part is left out here,
one property and one header at a time, and named.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import amqp.serialization
from amqp import spec

from bridge.domain.given_up import reason_word
from bridge.domain.messages import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

#: Under this name the properties hold the names of those that can't be read, headers as `headers.<name>`.
UNREADABLE = "x-bridge-unreadable"
#: Stands for all headers behind the first one whose end is unknown.
HEADERS = "headers"
_TABLE = "application_headers"

#: The properties in the order that their flags have, from the highest bit down (AMQP 0-9-1 section 1.8).
_ORDER = (
    "content_type",
    "content_encoding",
    _TABLE,
    "delivery_mode",
    "priority",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "timestamp",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
)
_NUMBERS = {"delivery_mode": ">B", "priority": ">B", "timestamp": ">Q"}
#: Bytes of a field's value by the letter of its type, as RabbitMQ writes them; None: as many as its first four say.
_SIZES: dict[bytes, int | None] = {
    **dict.fromkeys((b"S", b"x", b"F", b"A")),
    **dict.fromkeys((b"b", b"B", b"t"), 1),
    **dict.fromkeys((b"s", b"U", b"u"), 2),
    **dict.fromkeys((b"I", b"i", b"f"), 4),
    **dict.fromkeys((b"L", b"l", b"d", b"T"), 8),
    b"D": 5,
    b"V": 0,
}

_decode: Callable[[bytes, int], tuple[Mapping[str, object], int]] = amqp.serialization.decode_properties_basic


def read_properties(buf: bytes, offset: int) -> tuple[Mapping[str, object], int]:
    """Return the properties that begin at `offset`, and where they end; never raises for what they hold.

    Unreadable parts are left out, and named in a tuple under `UNREADABLE`.
    """
    try:
        return _decode(buf, offset)
    except Exception:  # noqa: BLE001 - any error is about this one message
        return _salvage(bytes(buf[offset:])), len(buf)


def install() -> None:
    """Have py-amqp read the properties of every message so."""
    amqp.serialization.PROPERTY_CLASSES[spec.Basic.CLASS_ID] = read_properties


def _salvage(buf: bytes) -> dict[str, object]:
    found: dict[str, object] = {}
    lost: list[str] = []
    flags, buf = int.from_bytes(buf[:2]), buf[2:]
    for location, name in enumerate(_ORDER):
        if not flags & (0x8000 >> location):
            continue
        kind = _NUMBERS.get(name, ">I" if name == _TABLE else ">B")
        size = struct.calcsize(kind)
        if len(buf) < size:
            # It ends in the middle: nothing behind it can be found.
            lost.append(name)
            break
        (number,), buf = struct.unpack(kind, buf[:size]), buf[size:]
        if name in _NUMBERS:
            found[name] = number
            continue
        value, buf = buf[:number], buf[number:]
        if name == _TABLE:
            found[name] = dict(_headers(value, lost))
            continue
        try:
            found[name] = value.decode()
        except UnicodeDecodeError:
            lost.append(name)
    return {**found, UNREADABLE: tuple(lost)}


def _headers(table: bytes, lost: list[str]) -> Iterator[tuple[object, object]]:
    """Yield the entries of a table that can be read, and add the names of all others to `lost`."""
    while table:
        key_end = 1 + table[0]
        size = _value_size(table[key_end:])
        if size is None or len(table) < key_end + size:
            lost.append(HEADERS)
            return
        entry, table = table[: key_end + size], table[key_end + size :]
        try:
            ((one,), _) = amqp.serialization.loads("F", struct.pack(">I", len(entry)) + entry, 0)
        except Exception:  # noqa: BLE001 - as above
            lost.append(f"{HEADERS}.{entry[1:key_end].decode('utf-8', 'replace')}")
        else:
            yield from one.items()


def _value_size(value: bytes) -> int | None:
    """Return the bytes of the field value that `value` begins with, its type included; None if that is unknown."""
    if value[:1] not in _SIZES:
        return None
    size = _SIZES[value[:1]]
    return 1 + size if size is not None else 5 + int.from_bytes(value[1:5])


def delivery_of(message: amqp.Message, *, connection_number: int = 0) -> Delivery:
    """Return a message as the broker delivered it, on which of its reader's connections."""
    properties = dict(message.properties)
    unreadable = properties.pop(UNREADABLE, ())
    headers = properties.pop(_TABLE, None) or {}
    info = message.delivery_info
    return Delivery(
        # An empty body is a `str` in py-amqp.
        body=bytes(message.body or b""),
        tag=(connection_number, info["delivery_tag"]),
        redelivered=bool(info["redelivered"]),
        properties=properties,
        headers=headers,
        unreadable=unreadable,
    )


def reason_of_death(headers: Mapping[str, object], queue: str) -> str:
    """Return why the broker took a message off `queue` (RabbitMQ's `x-death`), `unknown` where that can't be read."""
    deaths = headers.get("x-death")
    for death in deaths if isinstance(deaths, list) else []:
        if isinstance(death, dict) and death.get("queue") == queue and isinstance(death.get("reason"), str):
            return reason_word(death["reason"])
    return reason_word(None)


class HeldDeliveries:
    """Takes and counts what a channel delivers, and settles it."""

    def __init__(self, channel: Any, receive: Callable[[Delivery], None], connection_number: int) -> None:
        """`receive` is called with each delivery; `connection_number` is half of its tag."""
        self._channel = channel
        self._receive = receive
        self._connection_number = connection_number
        #: How many came.
        self.delivered = 0
        #: Of those held, those of consumers that were ended: no prefetch bounds them any more.
        self.over = 0
        self._ended_at = 0
        #: The tags of those held, as they came.
        self._tags: dict[int, None] = {}

    def __len__(self) -> int:
        """Return how many are held."""
        return len(self._tags)

    def take(self, message: amqp.Message) -> None:
        """Hold another one, and hand it over."""
        self.delivered += 1
        self._tags[message.delivery_tag] = None
        self._receive(delivery_of(message, connection_number=self._connection_number))

    def consumers_ended(self) -> None:
        """Take note that nothing more comes of the channel's consumers."""
        self.over, self._ended_at = len(self._tags), self.delivered

    def settle(self, settlements: Iterable[tuple[int, bool]]) -> None:
        """Take deliveries off the queue where the flag says so, else put them back: each by its tag."""
        acked = set()
        for tag, is_ack in settlements:
            self.over -= tag <= self._ended_at
            if is_ack:
                acked.add(tag)
            else:
                del self._tags[tag]
                self._channel.basic_reject(tag, requeue=True)
        self._ack(acked)

    def _ack(self, acked: set[int]) -> None:
        """Take them off the queue, in one go up to the first that is still held: commands end nearly as they came."""
        up_to = None
        for tag in self._tags:
            if tag not in acked:
                break
            up_to = tag
        if up_to is not None:
            self._channel.basic_ack(up_to, multiple=True)
        for tag in acked:
            del self._tags[tag]
            if up_to is None or tag > up_to:
                self._channel.basic_ack(tag)
