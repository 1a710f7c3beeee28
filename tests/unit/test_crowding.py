"""Connection limits: the connections that are closed, answered with 503, or not accepted."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest

from bridge.adapters.http.server.peers import Peers, host_of
from bridge.adapters.http.server.registry import ANSWERED_BEYOND
from tests.harness.http_server import make_hook, serving
from tests.harness.raw_http import Client

if TYPE_CHECKING:
    from collections.abc import Iterator


POST = b"POST /hook HTTP/1.1\r\nHost: bridge\r\nContent-Length: 2\r\n\r\n"
HERE, THERE = "127.0.0.1", "127.9.9.9"


@contextmanager
def crowded(**options: Any) -> Iterator[int]:
    """Serve a webhook; no connection is closed for its slowness."""
    with serving(make_hook(body_timeout=60), head_timeout=60, **options) as server:
        yield server.port


class Crowd(ExitStack):
    """Connections that stay open."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    def come(self, data: bytes = b"", *, source: str = HERE) -> Client:
        """Connect and send `data`."""
        return self.enter_context(Client(self._port, source=source)).send(data)

    def ask(self, *, source: str = HERE) -> Client:
        """Connect and wait for the response to a request."""
        client = self.come(POST + b"{}", source=source)
        assert client.status() == 204
        return client

    def begin(self, *, source: str = HERE) -> Client:
        """Connect and send the head of a request without its body."""
        client = self.come(POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"), source=source)
        assert client.status() == 100
        return client


@pytest.mark.parametrize("begun", [b"", b"POST /hook HTTP/1.1\r\nX-Slow: "])
def test_oldest_connection_without_a_complete_head_is_closed_first(begun: bytes) -> None:
    with crowded(max_connections=5) as port, Crowd(port) as crowd:
        idle = crowd.ask()
        silent = [crowd.come(begun) for _ in range(4)]
        newest = crowd.ask()

        assert silent[0].closed()
        assert [client.send(POST + b"{}").status() for client in (idle, newest)] == [204, 204]


def test_longest_idle_connection_is_closed_when_all_have_sent_a_head() -> None:
    with crowded(max_connections=3) as port, Crowd(port) as crowd:
        first, second, third = (crowd.ask() for _ in range(3))
        assert first.send(POST + b"{}").status() == 204
        fourth = crowd.ask()

        assert second.closed()
        assert [client.send(POST + b"{}").status() for client in (first, third, fourth)] == [204] * 3


def test_connection_that_began_another_head_after_two_responses_is_closed_for_others() -> None:
    with crowded(max_connections=5) as port, Crowd(port) as crowd:
        for _ in range(5):
            begun = crowd.come((POST + b"{}") * 2 + b"POST")
            assert [begun.status(), begun.status()] == [204, 204]
        newest = crowd.come(POST + b"{}").status()

    assert newest == 204


def test_requests_in_flight_are_not_interrupted_and_further_ones_get_503() -> None:
    with crowded(max_connections=5) as port, Crowd(port) as crowd:
        busy = [crowd.begin() for _ in range(5)]
        refused = crowd.come(POST + b"{}")
        status, come_again, closed = refused.status(), refused.headers["retry-after"], refused.closed()
        statuses = [client.send(b"{}").status() for client in busy]
        later = crowd.come(POST + b"{}").status()

    assert (status, come_again, closed) == (503, "5", True)
    assert (statuses, later) == ([204] * 5, 204)


def test_connections_far_beyond_the_limit_are_closed() -> None:
    with crowded(max_connections=5) as port, Crowd(port) as crowd:
        for _ in range(5):
            crowd.begin()
        refused = [crowd.come(POST).status() for _ in range(ANSWERED_BEYOND)]

        assert set(refused) == {503}
        assert crowd.come().closed()


def test_connection_closing_after_its_response_is_closed_for_others() -> None:
    refused = b"GET /hook HTTP/1.1\r\nHost: bridge\r\nConnection: close\r\nContent-Length: 9\r\n\r\n"
    with crowded(max_connections=5) as port, Crowd(port) as crowd:
        statuses = [crowd.come(refused).status() for _ in range(20)]

        assert statuses == [405] * 20


def test_connection_from_a_forbidden_address_is_closed_at_once_and_counted() -> None:
    refused: list[str] = []
    peers = Peers(
        allow=(ip_network("203.0.113.0/24"), ip_network("127.0.0.1/32")),
        proxies=(ip_network("127.7.0.0/16"),),
        refused=refused.append,
    )
    with crowded(peers=peers) as port, Crowd(port) as crowd:
        assert crowd.come(source=THERE).closed()
        crowd.ask()
        crowd.ask(source="127.7.7.7")

    assert refused == [THERE]


def test_connections_of_an_address_are_limited_and_those_of_a_proxy_are_not() -> None:
    peers = Peers(proxies=(ip_network("127.7.0.0/16"),), each=3)
    with crowded(peers=peers) as port, Crowd(port) as crowd:
        other = crowd.come(source=HERE)
        silent = [crowd.come(source=THERE) for _ in range(3)]
        newest = [crowd.begin(source=THERE) for _ in range(3)]
        assert [client.closed() for client in silent] == [True] * 3, "its own oldest connections are closed"
        assert crowd.come(source=THERE).closed()
        proxied = [crowd.ask(source="127.7.7.7") for _ in range(10)]

        assert [client.send(b"{}").status() for client in newest] == [204] * 3
        assert other.send(POST + b"{}").status() == 204
        assert {client.send(POST + b"{}").status() for client in proxied} == {204}


@pytest.mark.parametrize(
    ("peer", "other", "is_one"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_addresses_of_one_ipv6_network_count_as_one_client(peer: str, other: str, is_one: bool) -> None:
    assert (host_of(peer) == host_of(other)) is is_one


def test_thousands_of_unauthenticated_connections_leave_capacity_for_others() -> None:
    peers = Peers(each=100)
    with crowded(max_connections=50, peers=peers) as port, Crowd(port) as crowd:
        for number in range(300):
            crowd.come(source=f"127.1.{number % 7}.9")
            if number % 10 == 0:
                crowd.ask(source="127.0.0.3")
