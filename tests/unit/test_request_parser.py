"""The request parser: requests in pieces of any size, and as the simulator's endpoints read them."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters.http.server.parser import Request, RequestParser
from bridge.simulator.http import SimulatorRequest, simulator_request

WIRE = (
    b"POST /cpaas/a/+1613/%2B1613/b%20c?max=2&next=a%3D HTTP/1.1\r\nHost: x\r\nX-Name: V\r\n"
    b"Content-Length: 5\r\n\r\nhello"
    b"GET /_simulator/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
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
        headers={"host": "x", "connection": "close"},
        body=b"",
    ),
]


class Found:
    """A handler that keeps complete requests."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def on_request(self, request: Request) -> None:
        assert not request.is_complete

    def on_too_large(self, request: Request) -> None:
        raise AssertionError(request)

    def on_complete(self, request: Request) -> None:
        self.requests.append(request)


@given(st.lists(st.integers(0, len(WIRE)), max_size=8))
def test_requests_are_the_same_for_any_split_of_the_bytes(cuts: list[int]) -> None:
    found = Found()
    parser = RequestParser(found)
    for start, end in pairwise([0, *sorted(cuts), len(WIRE)]):
        parser.feed(WIRE[start:end])

    assert [simulator_request(request) for request in found.requests] == REQUESTS
    assert [request.keeps_alive for request in found.requests] == [True, False]
