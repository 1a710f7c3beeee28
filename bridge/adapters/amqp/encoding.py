"""Messages as py-amqp has them, read and written.

Properties and headers of commands come from strangers and go on into dead letters and copies; what can't be written
as it is must cost neither the message nor the connection that it would be written to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import amqp

from bridge.adapters.amqp.properties import UNREADABLE
from bridge.domain.given_up import reason_word
from bridge.domain.messages import Delivery

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.domain.messages import Outgoing

#: Bytes of a header frame beside the properties, rounded up.
FRAME_OVERHEAD = 64
_HEADERS = "application_headers"


class Encoded(amqp.Message):  # type: ignore[misc]  # py-amqp has no types
    """A message whose properties are known to be writable, and written once."""

    def __init__(self, body: bytes, properties: Mapping[str, object], *, frame_max: int) -> None:
        """Take the bytes and the properties.

        Raises:
            Exception: of any kind, where the properties can't be written, or not into one frame.

        """
        super().__init__(body)
        self.properties = dict(properties)
        self._raw: bytes = super()._serialize_properties()
        if len(self._raw) + FRAME_OVERHEAD > frame_max:
            raise ValueError("the properties are larger than a frame")

    def _serialize_properties(self) -> bytes:
        return self._raw


def delivery_of(message: amqp.Message, *, connection_number: int = 0) -> Delivery:
    """Return a message as the broker delivered it, on which of its reader's connections."""
    properties = dict(message.properties)
    unreadable = properties.pop(UNREADABLE, ())
    headers = properties.pop(_HEADERS, None) or {}
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


def encode(message: Outgoing, *, frame_max: int) -> tuple[Encoded, str | None]:
    """Return the message as AMQP has it, and the kind of error that cost it some of its properties, if any did.

    What can't be written is left out one by one; where all together are more than a frame holds, strangers' headers
    are. The broker would close the connection for them, again and again. Never raises for what a message may hold.
    """
    properties = {**message.properties, "delivery_mode": 2}
    if message.content_type is not None:
        properties["content_type"] = message.content_type
    if message.headers:
        properties[_HEADERS] = message.headers
    try:
        return Encoded(message.body, properties, frame_max=frame_max), None
    except Exception as e:  # noqa: BLE001 - whatever it is, it is about this one message
        reason = type(e).__name__
    headers = {key: value for key, value in message.headers.items() if _writable(_HEADERS, {key: value})}
    properties = {
        key: value for key, value in properties.items() if key != _HEADERS and _writable(key, value)
    }
    try:
        return Encoded(message.body, {**properties, _HEADERS: headers}, frame_max=frame_max), reason
    except ValueError:
        own = _own(headers, room=frame_max // 2)
        return Encoded(message.body, {**properties, _HEADERS: own}, frame_max=frame_max), reason


def _own(headers: Mapping[str, object], *, room: int) -> dict[str, object]:
    """Return the bridge's own headers, as many as `room` bytes hold, the last first: strangers' may be called alike."""
    own: dict[str, object] = {}
    for key, value in reversed(list(headers.items())):
        size = len(amqp.Message(b"", **{_HEADERS: {key: value}})._serialize_properties())  # noqa: SLF001 - as below
        if str(key).startswith("x-bridge-") and size <= room:
            own[key] = value
            room -= size
    return own


def _writable(name: str, value: object) -> bool:
    try:
        amqp.Message(b"", **{name: value})._serialize_properties()  # noqa: SLF001 - the only way to learn it
    except Exception:  # noqa: BLE001 - likewise
        return False
    return True
