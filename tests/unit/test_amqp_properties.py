"""Message properties: readable ones are read next to unreadable ones."""

from __future__ import annotations

import struct

import amqp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters.amqp.deliveries import UNREADABLE, read_properties

#: A time in milliseconds; AMQP uses seconds.
MILLISECONDS = b"T" + struct.pack(">Q", 1_700_000_000_000_000)
NESTED = b"F" + struct.pack(">I", len(MILLISECONDS) + 2) + b"\x01t" + MILLISECONDS
LIST = b"A" + struct.pack(">I", len(MILLISECONDS)) + MILLISECONDS
OTHERS = {
    "content_type": "application/json",
    "application_headers": {"before": "1", "x-bridge-token": "7", "after": {"n": 1, "list": [True, None]}},
    "delivery_mode": 2,
    "priority": 3,
    "correlation_id": "c",
    "reply_to": "answers",
    "message_id": "m",
    "timestamp": 1_700_000_000,
    "app_id": "shop",
}


def written(**properties: object) -> bytes:
    raw: bytes = amqp.Message(b"", **properties)._serialize_properties()
    return raw


def with_header(header: bytes) -> bytes:
    """Return `OTHERS` as bytes, with `header` behind the headers."""
    raw = written(**OTHERS)
    place = 2 + 1 + len("application/json")
    (size,) = struct.unpack_from(">I", raw, place)
    end = place + 4 + size
    return raw[:place] + struct.pack(">I", size + len(header)) + raw[place + 4 : end] + header + raw[end:]


def test_readable_properties_are_read_as_they_are() -> None:
    assert read_properties(b"xx" + written(**OTHERS), 2)[0] == OTHERS


@pytest.mark.parametrize("value", [MILLISECONDS, NESTED, LIST])
def test_unreadable_header_does_not_affect_other_headers(value: bytes) -> None:
    found, _ = read_properties(with_header(b"\x06x-time" + value), 0)

    assert found == OTHERS | {UNREADABLE: ("headers.x-time",)}


def test_headers_behind_an_unknown_type_are_lost() -> None:
    found, _ = read_properties(with_header(b"\x06x-type" + b"Z??" + b"\x04lost" + MILLISECONDS), 0)

    assert found == OTHERS | {UNREADABLE: ("headers",)}


@pytest.mark.parametrize("name", ["content_type", "correlation_id", "reply_to", "message_id", "app_id"])
def test_text_that_is_not_utf_8_loses_that_property_only(name: str) -> None:
    marked = written(**OTHERS | {name: "????"}).replace(b"????", b"\xff\xfe\xfd\xfc")
    found, _ = read_properties(marked, 0)

    assert found == {key: value for key, value in OTHERS.items() if key != name} | {UNREADABLE: (name,)}


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_no_bytes_break_the_connection(anything: bytes, header: bytes) -> None:
    for raw in (
        anything,
        with_header(header),
        with_header(b"\x01h" + header),
        written(**OTHERS)[: len(anything)],
    ):
        found, _ = read_properties(raw, 0)

        assert all(isinstance(name, str) for name in found)
