"""Messages as they are written.

Properties and headers of commands come from strangers and go on into dead letters and copies; what can't be written
as it is must cost neither the message nor the connection that it would be written to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import amqp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.domain.messages import Outgoing

#: Bytes of a header frame beside the properties, rounded up.
FRAME_OVERHEAD = 64
_HEADERS = "application_headers"


class Encoded(NamedTuple):
    """A message as it is written."""

    body: bytes
    #: The properties in the bytes of AMQP, flags first.
    properties: bytes
    #: The kind of error that cost it some of its properties, if any did.
    simplified: str | None = None


def encode(message: Outgoing, *, frame_max: int) -> Encoded:
    """Return the message as AMQP has it.

    What can't be written is left out one by one; where all together are more than a frame holds, strangers' headers
    are. The broker would close the connection for them, again and again. Never raises for what a message may hold.
    """
    properties = {**message.properties, "delivery_mode": 2}
    if message.content_type is not None:
        properties["content_type"] = message.content_type
    if message.headers:
        properties[_HEADERS] = message.headers
    try:
        return Encoded(message.body, _written(properties, frame_max))
    except Exception as e:  # noqa: BLE001 - any error is about this one message
        reason = type(e).__name__
    headers = {key: value for key, value in message.headers.items() if _writable(_HEADERS, {key: value})}
    properties = {
        key: value for key, value in properties.items() if key != _HEADERS and _writable(key, value)
    }
    try:
        written = _written({**properties, _HEADERS: headers}, frame_max)
    except ValueError:
        own = _own(headers, capacity=frame_max // 2)
        written = _written({**properties, _HEADERS: own}, frame_max)
    return Encoded(message.body, written, reason)


def _written(properties: Mapping[str, object], frame_max: int) -> bytes:
    """Return the bytes of properties.

    Raises:
        Exception: of any kind, where they can't be written, or not into one frame.

    """
    message = amqp.Message()
    message.properties = properties
    written: bytes = message._serialize_properties()  # noqa: SLF001 - its only writer
    if len(written) + FRAME_OVERHEAD > frame_max:
        raise ValueError("the properties are larger than a frame")
    return written


def _own(headers: Mapping[str, object], *, capacity: int) -> dict[str, object]:
    """Return the bridge's own headers, as many as `capacity` bytes hold, the last first."""
    own: dict[str, object] = {}
    for key, value in reversed(list(headers.items())):
        size = len(amqp.Message(b"", **{_HEADERS: {key: value}})._serialize_properties())  # noqa: SLF001 - as below
        if str(key).startswith("x-bridge-") and size <= capacity:
            own[key] = value
            capacity -= size
    return own


def _writable(name: str, value: object) -> bool:
    try:
        amqp.Message(b"", **{name: value})._serialize_properties()  # noqa: SLF001 - the only way to learn it
    except Exception:  # noqa: BLE001 - likewise
        return False
    return True
