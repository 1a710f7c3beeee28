"""Listeners: every valid configuration listens, and is reachable by clients."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bridge.adapters.clock import SystemClock
from bridge.adapters.http.admin_app import Admin
from bridge.adapters.http.server.options import ServerOptions
from bridge.adapters.http.server.server import HttpServer
from bridge.app.admin import listen_admin, make_metrics
from bridge.app.submit import make_submit_server
from bridge.app.webhook import make_webhook_server
from bridge.ports.http_results import NotificationResult, Readiness
from bridge.settings import Settings, SettingsError, load
from bridge.settings.load import variable
from bridge.settings.transfer import pack, unpack
from tests.harness.raw_http import Client

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "Bearer tangerine-4711"
#: Settings that permit any host.
AUTHORIZED = {
    "BRIDGE_INGEST__AUTHORIZATION": SECRET, "BRIDGE_SUBMIT__AUTHORIZATION": "Bearer plum-1", "BRIDGE_INGEST__PORT": "0"
}  # fmt: skip
BODY = b'{"a": {"id": "x"}}'


class Flow:
    """An endpoint that accepts every notification and records the clients."""

    def __init__(self) -> None:
        self.refusals: list[tuple[Any, ...]] = []

    def take(self, _posted: Any, answered: Callable[[Any], None]) -> None:
        """Report it as an event."""
        answered(NotificationResult.PUBLISHED)

    def refused(self, *refusal: Any) -> None:
        """Record a refusal."""
        self.refusals.append(refusal)


def settings_of(**ingest: object) -> Settings:
    environ = {variable("ingest", key): str(value) for key, value in ingest.items()}
    return load({}, environ | AUTHORIZED, lambda _: "")


def ask(settings: Settings, target: str, *addresses: str) -> list[int]:
    """Return the status of a webhook at `target` through each of `addresses`."""
    flow: Any = Flow()
    return [status for status, _ in answers_of(make_webhook_server(settings, flow, flow), target, *addresses)]


def answers_of(server: HttpServer, target: str, *addresses: str) -> list[tuple[int, dict[str, str]]]:
    """Post to `target` through each of `addresses`; return status and header of each response."""
    port = server.start()
    answers = []
    for address in addresses or ("127.0.0.1",):
        with Client(port, address=address) as client:
            head = f"POST {target} HTTP/1.1\r\nHost: bridge\r\nAuthorization: {SECRET}\r\n"
            client.send(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
            answers.append((client.status(), client.headers))
    server.stop(1)
    return answers


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        (" 127.0.0.2 ", ["127.0.0.2"]),
        ("localhost", ["127.0.0.1"]),
        ("LocalHost", ["127.0.0.1"]),
        ("0.0.0.0", ["127.0.0.1"]),  # noqa: S104 - with an authorization
        ("::ffff:127.0.0.1", ["127.0.0.1"]),
        ("::1", ["::1"]),
        ("[::1]", ["::1"]),
        ("0:0:0:0:0:0:0:1", ["::1"]),
        ("::", ["::1", "127.0.0.1"]),
        ("[::]", ["::1", "127.0.0.1"]),
    ],
)
def test_every_host_that_is_valid_is_listened_on(host: str, addresses: list[str]) -> None:
    assert set(ask(settings_of(host=host), "/inbound-sms/webhook", *addresses)) == {204}


def server_of(section: str, settings: Settings) -> HttpServer:
    """Return the server of an endpoint, not started and without a request handler."""
    unused: Any = Flow()
    if section == "ingest":
        return make_webhook_server(settings, unused, unused)
    return make_submit_server(settings, unused, unused, make_metrics(), SystemClock())


@pytest.mark.parametrize("host", ["::1", "[::1]", "::"])
@pytest.mark.parametrize("section", ["submit", "admin"])
def test_every_endpoint_listens_on_ipv6(section: str, host: str) -> None:
    settings = load({}, {variable(section, "host"): host, **AUTHORIZED}, lambda _: "")
    if section == "admin":
        server = listen_admin(settings, Admin(lambda: Readiness(ready=True), make_metrics().registry), port=0)
    else:
        server = server_of(section, settings)
        server.start()
    with Client(server.port, address="::1") as client:
        status = client.send(b"GET / HTTP/1.1\r\nHost: bridge\r\n\r\n").status()
    server.stop(1)

    assert status == 404


@pytest.mark.parametrize("section", ["ingest", "submit"])
def test_every_answer_announces_how_long_an_idle_connection_stays_open(section: str) -> None:
    settings = load({}, {variable(section, "keep_alive"): "123", **AUTHORIZED}, lambda _: "")
    ((_, header),) = answers_of(server_of(section, settings), "/")

    assert (header["connection"], header["keep-alive"]) == ("keep-alive", "timeout=123")


@pytest.mark.parametrize("section", ["ingest", "submit", "admin"])
@pytest.mark.parametrize(
    "host",
    [
        "",
        "0",
        "127.1",
        "256.1.1.1",
        "1.2.3.4.5",
        "localhost:8080",
        "127.0.0.1:80",
        "[::1]:80",
        "[127.0.0.1]",
        "http://bridge",
        "a b",
        "a/b",
        "a..b",
        ".",
        "-",
        "x" * 300,
        "1::2::3",
        "::1%",
        "h\u00f6st",
    ],
)
def test_host_that_is_not_local_is_refused(section: str, host: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load({}, {variable(section, "host"): host}, lambda _: "")

    assert [problem.path for problem in refused.value.problems] == [f"{section}.host"]


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/", "/"),
        ("/hook", "/hook"),
        ("/hook/", "/hook/"),
        ("/hook%20one", "/hook%20one"),
        ("/hook one", "/hook%20one"),
        ("/h\u00f6ok", "/h%C3%B6ok"),
        ("/h%c3%b6ok", "/h%C3%B6ok"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a%2Fb", "/a/b"),
        ("/50%25", "/50%25"),
        ("/a%2520b", "/a%2520b"),
        ("/a%3Fb", "/a%3Fb"),
        ("/a;b=c,d", "/a;b=c,d"),
        ("/~user/a.b-c_d", "/~user/a.b-c_d"),
        ("/a//b", "/a//b"),
    ],
)
def test_every_valid_path_is_reachable(path: str, target: str) -> None:
    settings = settings_of(path=path)

    assert ask(settings, target) == [204]
    assert ask(unpack(pack(settings)), settings.ingest.path) == [204]


@pytest.mark.parametrize(
    "path",
    [
        "",
        "hook",
        "/a?b",
        "/a#b",
        "/a/../b",
        "/a/%2e%2e/b",
        "/.",
        "//hook",
        "/a\\b",
        "/a%5Cb",
        "/a%00b",
        "/a%0Ab",
        "/%FF",
        "/" + "a" * 3000,
    ],
)
def test_unreachable_path_is_refused(path: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings_of(path=path)

    assert [problem.path for problem in refused.value.problems] == ["ingest.path"]


@given(st.text(st.characters(codec="utf-8"), max_size=30).map("/{}".format))
def test_normalized_path_is_stable(path: str) -> None:
    try:
        once = Settings.model_validate({"ingest": {"path": path}})
    except ValidationError:
        return
    twice = Settings.model_validate({"ingest": {"path": once.ingest.path}})

    assert once == twice
    assert once.ingest.path.isascii()


@pytest.mark.parametrize(
    ("allow", "status"),
    [
        ("127.0.0.0/8", 204),
        ("::ffff:127.0.0.0/104", 204),
        ("::ffff:127.0.0.1", 204),
        ("::ffff:0:0/96", 204),
        ("127.0.0.0/255.0.0.0", 204),
        ("::ffff:198.51.100.0/120", None),
        ("::/0", None),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "::"])
def test_ipv4_network_admits_its_clients_in_any_notation(host: str, allow: str, status: int | None) -> None:
    try:
        answers = ask(settings_of(host=host, allow=allow), "/inbound-sms/webhook")
    except ConnectionResetError:
        answers = [0]

    # A connection from elsewhere is closed without a response.
    assert answers == [status or 0]


@pytest.mark.parametrize("value", ["fe80::%eth0/64", "fe80::1%1", "127.0.0.1/33", "::1/129", "", "*"])
@pytest.mark.parametrize("key", ["allow", "trusted_proxies"])
def test_network_without_possible_clients_is_refused(key: str, value: str) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"ingest": {key: [value]}})


def test_address_in_use_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = HttpServer(Any, ServerOptions(host="127.0.0.1", port=taken.getsockname()[1]), name="late")  # type: ignore[arg-type]
        with pytest.raises(OSError, match="in use"):
            server.start()
