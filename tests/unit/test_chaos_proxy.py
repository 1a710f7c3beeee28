"""Faults of the chaos proxy, between a client and an echo server on loopback."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from tests.harness.chaos_proxy import DOWN, UP, ChaosProxy
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def proxy() -> Iterator[ChaosProxy]:
    """Put the proxy before an echo server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=_echo, args=(listener,), daemon=True)
        server.start()
        with ChaosProxy(("127.0.0.1", listener.getsockname()[1])) as proxy:
            yield proxy
        listener.shutdown(socket.SHUT_RDWR)
    server.join(timeout=5)


@pytest.fixture
def client(proxy: ChaosProxy) -> Iterator[socket.socket]:
    """Connect through the proxy and wait for a first echo."""
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


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_black_hole_swallows_one_direction_and_keeps_the_socket(
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


def test_delay_holds_each_chunk_back(proxy: ChaosProxy, client: socket.socket) -> None:
    proxy.delay(0.1)
    began = time.monotonic()
    client.sendall(b"late")

    assert _read(client, 4) == b"late"
    assert time.monotonic() - began >= 0.2
    assert proxy.counters.delayed == 2


def test_throttle_bounds_the_rate(proxy: ChaosProxy, client: socket.socket) -> None:
    proxy.throttle(10_000)
    began = time.monotonic()
    client.sendall(bytes(1000))

    assert len(_read(client, 1000)) == 1000
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_connection_is_cut_in_the_middle_once(
    direction: str, proxy: ChaosProxy, client: socket.socket
) -> None:
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
