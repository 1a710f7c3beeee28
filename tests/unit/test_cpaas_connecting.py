"""Connections of the provider's client: to several addresses, and through a proxy."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from bridge.adapters.clock import SystemClock
from bridge.adapters.cpaas.transport import RequestNotSent, Transport
from bridge.domain.answers import Accepted, Unsent
from bridge.ports.provider_errors import Unreachable
from tests.fakes.provider_server import ProviderServer, reply
from tests.harness.certificates import make_certificate
from tests.harness.waiting import free_port
from tests.unit.cpaas_setup import account, client_setup, elapsed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fakes.provider_server import Peer

DEAD = [f"127.0.0.{number}" for number in range(11, 19)]


@pytest.fixture
def dead_port() -> Iterator[int]:
    """Return a port on which each of the addresses `DEAD` neither accepts nor refuses a connection."""
    with contextlib.ExitStack() as stack:
        port = 0
        for address in DEAD:
            full = stack.enter_context(socket.socket())
            full.bind((address, port))
            full.listen(0)
            port = full.getsockname()[1]
            for _ in range(2):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex((address, port))
        yield port


def resolve_to(addresses: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every name resolve to `addresses`."""

    def resolved(_host: object, port: int, *_: object, **__: object) -> list[object]:
        stream = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*stream, (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)


def test_connecting_to_dead_addresses_ends_at_the_deadline_of_the_call(
    dead_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(DEAD, monkeypatch)
    transport = Transport(
        account(f"http://dead.example:{dead_port}", connect_timeout=0.4, total_timeout=1.0), SystemClock()
    )

    def call() -> None:
        with pytest.raises(RequestNotSent, match="connecting took too long"):
            transport.exchange("POST", "/", {}, b"{}")

    # Eight times the limit of one address would be 3.2 s.
    assert elapsed(call) < 2.0


def test_address_behind_one_that_refuses_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with ProviderServer() as server:
        resolve_to([DEAD[0], "127.0.0.1"], monkeypatch)
        with client_setup(server=server, base_url=f"http://either.example:{server.port}") as it:
            assert isinstance(it.send(), Accepted)


def proxied(answer: Callable[[Peer], bool], proxy: ProviderServer) -> None:
    """Let a server answer any request as a proxy."""
    proxy._act = lambda request: answer  # type: ignore[method-assign]


def refuse(peer: Peer) -> bool:
    """Answer 407 with a page."""
    peer.send(reply(407, b"<html>who are you?</html>", {"Proxy-Authenticate": "Basic"}))
    return True


@pytest.mark.parametrize(
    ("credentials", "pair"),
    [
        ("user:p%C3%A4ss", "user:p\u00e4ss"),
        ("user:p\u00e4ss", "user:p\u00e4ss"),
        ("us%C3%A9r:%E2%82%AC%40%2F%3A%23", "us\u00e9r:\u20ac@/:#"),
        ("user:100%25", "user:100%"),
        ("user:", "user:"),
        ("user", "user:"),
    ],
)
def test_proxy_is_shown_user_and_password_in_utf_8(credentials: str, pair: str) -> None:
    seen: list[str] = []

    def look_up(peer: Peer) -> bool:
        seen.append(peer.request.headers["proxy-authorization"])
        return refuse(peer)

    with ProviderServer() as proxy:
        proxied(look_up, proxy)
        with client_setup(
            base_url="http://provider.invalid", proxy=f"http://{credentials}@127.0.0.1:{proxy.port}"
        ) as it:
            it.send()

    assert seen
    assert set(seen) == {f"Basic {base64.b64encode(pair.encode()).decode()}"}


@pytest.mark.parametrize("base_url", ["http://provider.invalid", "https://provider.invalid"])
def test_proxy_that_wants_other_credentials_is_named(base_url: str) -> None:
    with ProviderServer() as proxy:
        proxied(refuse, proxy)
        with client_setup(base_url=base_url, proxy=f"http://user:canary@127.0.0.1:{proxy.port}") as it:
            got = it.send()
            with pytest.raises(Unreachable) as probed:
                it.client.probe()

        for error in (got.error if isinstance(got, Unsent) else None, probed.value.error):
            assert error is not None
            assert error.message == f"the proxy 127.0.0.1:{proxy.port} wants other credentials (407)"
        assert f"127.0.0.1:{proxy.port}" in str(probed.value)
        assert "canary" not in f"{got!r} {probed.value!r}"


@pytest.mark.parametrize("base_url", ["http://provider.invalid", "https://provider.invalid"])
def test_refusal_of_a_proxy_is_not_final_for_the_message(
    base_url: str,
) -> None:
    def fail(peer: Peer) -> bool:
        peer.send(reply(502, b"<html>"))
        return True

    with ProviderServer() as proxy:
        proxied(fail, proxy)
        with client_setup(base_url=base_url, proxy=f"http://127.0.0.1:{proxy.port}") as it:
            got = it.send()

        assert isinstance(got, Unsent)
        if base_url.startswith("https"):
            assert got.error.message == f"the proxy 127.0.0.1:{proxy.port} does not open a tunnel (502)"


@pytest.mark.parametrize("base_url", ["http://provider.invalid", "https://provider.invalid"])
def test_unreachable_proxy_is_named(base_url: str) -> None:
    port = free_port()
    with client_setup(base_url=base_url, proxy=f"http://user:canary@127.0.0.1:{port}") as it:
        got = it.send()

    assert isinstance(got, Unsent)
    assert got.error.message == f"the proxy 127.0.0.1:{port} can't be used: connection refused"


def test_proxy_whose_name_does_not_resolve_is_named() -> None:
    with client_setup(proxy="http://user:canary@proxy.invalid:3128") as it:
        got = it.send()

    assert isinstance(got, Unsent)
    assert got.error.message == "the proxy proxy.invalid:3128 can't be used: its name can't be resolved"


@pytest.mark.parametrize("base_url", ["http://provider.invalid", "https://provider.invalid"])
def test_proxy_with_an_untrusted_certificate_is_named(
    base_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import ssl

    certificate, key = make_certificate(tmp_path_factory.mktemp("proxy"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with ProviderServer(context) as proxy, client_setup(base_url=base_url, proxy=proxy.base_url) as it:
        got = it.send()

        assert isinstance(got, Unsent)
        assert got.error.message == (
            f"the proxy 127.0.0.1:{proxy.port} can't be used: its certificate can't be verified"
        )


def test_proxy_that_is_silent_about_a_tunnel_ends_in_time() -> None:
    def accept(listener: socket.socket, ended: threading.Event) -> None:
        peer, _ = listener.accept()
        ended.wait(10)
        peer.close()

    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, args=(listener, ended))
        thread.start()
        port = listener.getsockname()[1]
        with client_setup(
            base_url="https://provider.invalid", proxy=f"http://127.0.0.1:{port}", connect_timeout=0.3
        ) as it:
            got = it.send()
        ended.set()
        thread.join()

    assert isinstance(got, Unsent)
    assert got.error.message == f"the proxy 127.0.0.1:{port} can't be used: no answer in time"
