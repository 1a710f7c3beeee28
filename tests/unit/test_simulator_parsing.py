"""Reading requests off a wire that cuts them anywhere."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.simulator.http import SimulatorRequest
from bridge.simulator.parsing import MAX_BODY, NotReadable, RequestReader

WIRE = (
    b"POST /cpaas/a/+1613/%2B1613/b%20c?max=2&next=a%3D HTTP/1.1\r\nHost: x\r\nX-Name: V\r\n"
    b"Content-Length: 5\r\n\r\nhello"
    b"GET /_simulator/ HTTP/1.1\r\nConnection: close\r\n\r\n"
)
REQUESTS = [
    SimulatorRequest(
        method="POST",
        parts=("cpaas", "a", "+1613", "+1613", "b c"),
        query={"max": "2", "next": "a="},
        headers={"host": "x", "x-name": "V", "content-length": "5"},
        body=b"hello",
    ),
    SimulatorRequest(
        method="GET",
        parts=("_simulator",),
        query={},
        headers={"connection": "close"},
        body=b"",
        keep_alive=False,
    ),
]


@given(st.lists(st.integers(0, len(WIRE)), max_size=8))
def test_requests_are_the_same_wherever_the_wire_cuts_them(cuts: list[int]) -> None:
    reader = RequestReader()
    edges = [0, *sorted(cuts), len(WIRE)]
    pieces = [WIRE[start:end] for start, end in pairwise(edges)]

    assert [request for piece in pieces for request in reader.feed(piece)] == REQUESTS


def test_a_body_that_is_too_large_is_not_read_to_its_end() -> None:
    reader = RequestReader()
    reader.feed(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (2 * MAX_BODY))
    reader.feed(bytes(MAX_BODY))

    with pytest.raises(NotReadable, match="too large"):
        reader.feed(b"x")
