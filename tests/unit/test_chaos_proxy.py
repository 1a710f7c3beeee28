"""The proxy's faults, seen from a client and an echo server on loopback."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from tests.harness.chaos_proxy import DOWN, UP, ChaosProxy
from tests.harness.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def proxy() -> Iterator[ChaosProxy]:
    """Put the proxy before a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=_echo, args=(listener,), daemon=True)
        server.start()
        with ChaosProxy(("127.0.0.1", listener.getsockname()[1])) as proxy:
            yield proxy
        listener.shutdown(socket.SHUT_RDWR)
    server.join(timeout=5)


@pytest.fixture
def client(proxy: ChaosProxy) -> Iterator[socket.socket]:
    """Connect through the proxy, as far as a first echo."""
    with _connect(proxy) as client:
        client.sendall(b"hello")

        assert _read(client, 5) == b"hello"
        yield client


def _echo(listener: socket.socket) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_echo_one, args=(connection,), daemon=True).start()


def _echo_one(connection: socket.socket) -> None:
    with closing(connection), suppress(OSError):
        while data := connection.recv(4096):
            connection.sendall(data)


def _connect(proxy: ChaosProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def _read(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := client.recv(size - len(data))):
        data += more
    return data


def test_passes_on_both_ways_and_counts(proxy: ChaosProxy, client: socket.socket) -> None:
    wait_until(lambda: proxy.counters.passed == {UP: 5, DOWN: 5}, what="both directions counted")

    assert proxy.counters.connections == proxy.open == 1


def test_passes_on_the_end_of_one_direction(client: socket.socket) -> None:
    client.sendall(b"last")
    client.shutdown(socket.SHUT_WR)

    assert _read(client, 100) == b"last"


def test_reset_is_a_reset(proxy: ChaosProxy, client: socket.socket) -> None:
    assert proxy.reset() == 1
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert proxy.counters.resets == 1
    assert proxy.open == 0


def test_finish_is_an_orderly_end(proxy: ChaosProxy, client: socket.socket) -> None:
    assert proxy.finish() == 1
    assert client.recv(1) == b""
    assert proxy.counters.fins == 1


def test_what_comes_after_a_reset_is_served_again(proxy: ChaosProxy, client: socket.socket) -> None:
    proxy.reset()
    with _connect(proxy) as another:
        another.sendall(b"x")

        assert _read(another, 1) == b"x"


def test_refuses_until_told_otherwise(proxy: ChaosProxy, client: socket.socket) -> None:
    proxy.refuse()
    # Connecting may already meet it.
    with pytest.raises(ConnectionResetError), _connect(proxy) as another:
        another.recv(1)
    proxy.pass_through()
    with _connect(proxy) as another:
        another.sendall(b"x")

        assert _read(another, 1) == b"x"
    assert proxy.counters.resets == 2


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_a_black_hole_swallows_one_direction_and_keeps_the_socket(
    direction: str, proxy: ChaosProxy, client: socket.socket
) -> None:
    proxy.black_hole(direction)
    client.sendall(b"gone")
    wait_until(lambda: proxy.counters.swallowed[direction] == 4, what="swallowed bytes")
    client.settimeout(0.05)

    with pytest.raises(TimeoutError):
        client.recv(1)
    assert proxy.open == 1
    assert proxy.counters.passed[UP] == (5 if direction == UP else 9)


def test_a_delay_holds_each_chunk_back(proxy: ChaosProxy, client: socket.socket) -> None:
    proxy.delay(0.1)
    began = time.monotonic()
    client.sendall(b"late")

    assert _read(client, 4) == b"late"
    assert time.monotonic() - began >= 0.2
    assert proxy.counters.delayed == 2


def test_a_throttle_bounds_the_rate(proxy: ChaosProxy, client: socket.socket) -> None:
    proxy.throttle(10_000)
    began = time.monotonic()
    client.sendall(bytes(1000))

    assert len(_read(client, 1000)) == 1000
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_cuts_in_the_middle_once(direction: str, proxy: ChaosProxy, client: socket.socket) -> None:
    wait_until(lambda: proxy.counters.passed == {UP: 5, DOWN: 5}, what="the greeting counted")
    proxy.cut_after(3, direction)
    client.sendall(b"12345")

    with pytest.raises(ConnectionResetError):
        _read(client, 100)
    assert proxy.counters.cuts == 1
    assert proxy.counters.passed[direction] == 8
    with _connect(proxy) as another:
        another.sendall(b"67890")

        assert _read(another, 5) == b"67890"


def test_a_server_that_is_not_there_is_a_reset() -> None:
    with ChaosProxy(("127.0.0.1", free_port())) as proxy:
        # Connecting may already meet it.
        with pytest.raises(ConnectionResetError), _connect(proxy) as client:
            client.recv(1)

        assert proxy.counters.connections == 1
        assert proxy.open == 0
