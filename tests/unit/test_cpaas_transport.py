"""Results of sends on network failures: every row of wire reference 8.4."""

from __future__ import annotations

import contextlib
import gzip
import socket
import ssl
import threading
import traceback
from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.adapters.cpaas.transport import MaybeSent, RequestNotSent, Transport
from bridge.domain.answers import Accepted, Ambiguous, Answer, Unsent
from tests.fakes import provider_server as provider
from tests.fakes.clock import HandClock
from tests.fakes.provider_server import ProviderServer, accepted, answer, drip, flood, raw, reply
from tests.harness.certificates import make_certificate
from tests.harness.waiting import free_port, wait_until
from tests.unit.cpaas_setup import NUMBER, TEXT, account, client_setup, elapsed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.provider_server import Act

WHOLE = reply(201, accepted())
CHUNKED = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"

#: The provider's act, the result of the send, the error's text.
AFTER_THE_REQUEST_LEFT: list[tuple[str, Act, str]] = [
    ("reset", provider.reset, "connection reset"),
    ("closed without an answer", provider.close, "closed without an answer"),
    ("silence", provider.silence, "no answer in time"),
    ("cut off in the body", raw(WHOLE[:-20]), "the answer is cut off"),
    ("cut off in a chunk", raw(CHUNKED + b"ff\r\n{"), "the answer is cut off"),
    ("cut off in the headers", raw(b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\nX"), ""),
    ("garbage", raw(b"\x00\xff\x00 no HTTP\r\n\r\n"), "the answer is not HTTP"),
    ("a garbage chunk size", raw(CHUNKED + b"zz\r\n{}\r\n"), "the answer is cut off"),
    ("headers that drip", drip(WHOLE, every=0.02), "no answer in time"),
    ("a body that drips", raw(WHOLE[:-40], then=drip(WHOLE[-40:], every=0.05)), "no answer in time"),
    (
        "one long header",
        flood(b"HTTP/1.1 201 Created\r\nX: ", b"x" * 65536, times=200),
        "too long|larger than allowed",
    ),
    (
        "many headers",
        flood(b"HTTP/1.1 201 Created\r\n", b"X: y\r\n" * 50, times=2000),
        "not valid HTTP|larger",
    ),
    (
        "endless interim answers",
        flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100, times=9999),
        "larger than allowed",
    ),
    ("10 MB", answer(201, b" " * 10_000_000), "larger than allowed"),
    (
        "endless chunks",
        flood(CHUNKED, b"ffff\r\n" + b" " * 0xFFFF + b"\r\n", times=200),
        "larger than allowed",
    ),
    (
        "a gzip bomb",
        answer(201, gzip.compress(b" " * 50_000_000), {"Content-Encoding": "gzip"}),
        "larger than allowed",
    ),
    ("no gzip at all", answer(201, b"{}", {"Content-Encoding": "gzip"}), "can't be decompressed"),
    (
        "another protocol",
        raw(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"),
        "switches to another protocol",
    ),
    (
        "another protocol after an interim answer, with more behind it",
        raw(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Ok\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
            + WHOLE
        ),
        "switches to another protocol",
    ),
    ("two lengths", raw(b"HTTP/1.1 201 Created\r\nContent-Length: 3, 4\r\n\r\n{}{}"), ""),
]


@pytest.mark.parametrize(
    ("act", "words"),
    [row[1:] for row in AFTER_THE_REQUEST_LEFT],
    ids=[row[0] for row in AFTER_THE_REQUEST_LEFT],
)
def test_failure_after_the_request_was_written_is_ambiguous(act: Act, words: str) -> None:
    with client_setup(read_timeout=0.4, total_timeout=0.8) as it:
        it.server.acts.append(act)
        got = it.send()

        assert isinstance(got, Ambiguous)
        assert got.error.name in {"network", "timeout"}
        assert any(word in (got.error.message or "") for word in words.split("|"))
        assert len(it.server.sends) == 1
        assert isinstance(it.send(), Accepted), "the next send has a new connection"


_NAMES = st.sampled_from(
    [
        "Connection",
        "Upgrade",
        "Content-Length",
        "Transfer-Encoding",
        "Content-Encoding",
        "Date",
        "Retry-After",
    ]
)
_VALUES = st.sampled_from(
    [
        "upgrade",
        "keep-alive",
        "close",
        "h2c",
        "websocket",
        "0",
        "5",
        "-1",
        "9" * 30,
        "chunked",
        "gzip",
        "identity",
    ]
)
_FIELDS = st.lists(
    st.tuples(
        _NAMES | st.text("aZ-\0 ", max_size=9), _VALUES | st.text(st.characters(codec="latin-1"), max_size=9)
    )
)
_STATUSES = st.integers(0, 1000) | st.sampled_from([100, 101, 102, 103, 200, 201, 204, 304, 407, 426])
_VERSIONS = st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2", "HTTP/0.9", "RTSP/1.0", "ICY", ""])


@st.composite
def _answers(draw: st.DrawFn) -> bytes:
    """Draw a response that resembles HTTP more or less."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.binary(max_size=200))
    lines = [f"{draw(_VERSIONS)} {draw(_STATUSES)} {draw(st.sampled_from(['OK', '', 'é']))}"]
    lines += [f"{name}: {value}" for name, value in draw(_FIELDS)]
    end = draw(st.sampled_from(["\r\n", "\n", "\r"]))
    body = draw(
        st.binary(max_size=60) | st.sampled_from([b"5\r\nhello\r\n0\r\n\r\n", b"{}", gzip.compress(b"{}")])
    )
    return (end.join(lines) + end * 2).encode("latin-1") + body


def test_any_bytes_are_one_of_the_five_results() -> None:
    with client_setup(total_timeout=2.0, read_timeout=1.0) as it:

        @settings(deadline=None, max_examples=80)
        @example([b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"])
        @given(st.lists(_answers(), min_size=1, max_size=2))
        def run(answers: list[bytes]) -> None:
            it.server.acts.clear()
            it.server.acts.append(raw(b"".join(answers)))

            assert isinstance(it.send(), get_args(Answer))

        run()


def test_refused_connection_counts_as_not_sent() -> None:
    with client_setup(base_url=f"http://127.0.0.1:{free_port()}") as it:
        got = it.send()

        assert isinstance(got, Unsent)
        assert (got.error.name, got.error.message) == ("network", "connection refused")


def test_unresolvable_name_counts_as_not_sent() -> None:
    with client_setup(base_url="http://provider.invalid") as it:
        got = it.send()

        assert isinstance(got, Unsent)
        assert got.error.message == "the provider's name can't be resolved"


def test_connection_that_is_not_accepted_in_time_counts_as_not_sent() -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        transport = Transport(
            account(f"http://127.0.0.1:{full.getsockname()[1]}", connect_timeout=0.2), HandClock()
        )

        with pytest.raises(RequestNotSent, match="connecting took too long"):
            transport.exchange("POST", "/", {}, b"{}")


def test_tls_to_a_plain_server_counts_as_not_sent() -> None:
    with (
        client_setup() as plain,
        client_setup(
            base_url=plain.server.base_url.replace("http:", "https:"), total_timeout=1.0, connect_timeout=0.5
        ) as it,
    ):
        got = it.send()

        assert isinstance(got, Unsent)
        assert plain.server.requests == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a self-signed certificate for 127.0.0.1, and its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_server(certificate: tuple[Path, Path]) -> ProviderServer:
    """Return a provider behind TLS; the client starts it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return ProviderServer(tls=context)


def test_untrusted_certificate_counts_as_not_sent(tls_server: ProviderServer) -> None:
    with client_setup(server=tls_server) as it:
        got = it.send()

        assert isinstance(got, Unsent)
        assert got.error.message == "the provider's certificate can't be verified"
        assert it.server.token_requests == []


def test_tls_works_with_a_private_ca(tls_server: ProviderServer, certificate: tuple[Path, Path]) -> None:
    with client_setup(server=tls_server, ca_file=str(certificate[0])) as it:
        assert isinstance(it.send(), Accepted)
        assert isinstance(it.send(), Accepted)
        assert it.server.connections == 1


def test_tls_error_after_the_request_was_written_is_ambiguous(
    tls_server: ProviderServer, certificate: tuple[Path, Path]
) -> None:
    def break_the_record(peer: provider.Peer) -> bool:
        with socket.socket(fileno=peer.sock.detach()) as bare:
            bare.sendall(b"\x17\x03\x03\x00\x20" + b"\x00" * 32)
        return False

    with client_setup(server=tls_server, ca_file=str(certificate[0])) as it:
        it.server.acts.append(break_the_record)
        got = it.send()

        assert isinstance(got, Ambiguous)
        assert got.error.message == "TLS failed"


def test_slow_headers_over_tls_end_at_the_deadline(
    tls_server: ProviderServer, certificate: tuple[Path, Path]
) -> None:
    with client_setup(server=tls_server, ca_file=str(certificate[0]), total_timeout=0.6) as it:
        it.server.acts.append(drip(WHOLE, every=0.05))
        took = elapsed(it.send)

        assert 0.4 < took < 3


def test_slow_response_ends_at_the_deadline() -> None:
    with client_setup(read_timeout=0.3, total_timeout=0.6) as it:
        it.server.acts.append(drip(WHOLE, every=0.05))
        took = elapsed(it.send)

        assert 0.5 < took < 3


def test_connection_the_provider_has_closed_is_not_used_again() -> None:
    with client_setup() as it:
        it.server.acts.append(raw(WHOLE))
        first = it.send()
        wait_until(lambda: not it.server._open, what="the provider closes")
        second = it.send()

        assert isinstance(first, Accepted)
        assert isinstance(second, Accepted)
        assert it.server.connections == 2


def test_connection_idle_for_longer_than_allowed_is_not_used_again() -> None:
    clock = HandClock()
    with client_setup(clock=clock, idle_timeout=4.0) as it:
        it.send()
        clock.pass_by(3.9)
        it.send()
        kept = it.server.connections
        clock.pass_by(4.1)
        it.send()

        assert (kept, it.server.connections) == (1, 2)


def keep(data: bytes) -> Act:
    """Send any `data`, and keep the connection."""

    def act(peer: provider.Peer) -> bool:
        peer.send(data)
        return True

    return act


def whole(body: bytes, *headers: bytes, line: bytes = b"HTTP/1.1 201 Created") -> bytes:
    """Return a response with these headers only."""
    return b"\r\n".join([line, *headers, b"", body])


BODY = WHOLE.partition(b"\r\n\r\n")[2]
LENGTH = b"Content-Length: %d" % len(BODY)
ZIPPED = gzip.compress(BODY)

#: The provider's act, and whether the connection is reused.
ANSWERS: list[tuple[str, Act, bool]] = [
    ("interim answers first", keep(b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" * 3 + WHOLE), True),
    (
        "chunks, with an extension and a trailer",
        keep(whole(b"%x;a=b\r\n%s\r\n0\r\nX: y\r\n\r\n" % (len(BODY), BODY), b"Transfer-Encoding: chunked")),
        True,
    ),
    ("compressed", keep(whole(ZIPPED, b"Content-Encoding: gzip", b"Content-Length: %d" % len(ZIPPED))), True),
    ("names in any case", keep(whole(BODY, LENGTH.upper())), True),
    ("a body that ends with its connection", raw(whole(BODY)), False),
    ("asked to close", keep(whole(BODY, LENGTH, b"Connection: close")), False),
    ("HTTP/1.0", keep(whole(BODY, LENGTH, line=b"HTTP/1.0 201 Created")), False),
    ("an answer that nobody asked for", keep(WHOLE + WHOLE), False),
    ("nothing but more bytes", keep(WHOLE + b"xyz"), False),
]


@pytest.mark.parametrize(("act", "reused"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
def test_responses_of_any_framing_are_read_and_connections_reused_only_when_safe(
    act: Act, reused: bool
) -> None:
    with client_setup() as it:
        it.server.acts.append(act)

        assert isinstance(it.send(), Accepted)
        assert isinstance(it.send(), Accepted)
        assert len(it.server.sends) == 2
        assert it.server.connections == (1 if reused else 2)


def test_proxy_makes_a_tunnel_to_a_provider_with_tls(
    tls_server: ProviderServer, certificate: tuple[Path, Path]
) -> None:
    asked: list[bytes] = []

    def tunnel(listener: socket.socket) -> None:
        client, _ = listener.accept()
        asked.append(client.recv(4096))
        there = socket.create_connection(("127.0.0.1", tls_server.port))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=pipe, args=(there, client))
        back.start()
        pipe(client, there)
        back.join()
        client.close()
        there.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=tunnel, args=(listener,))
        thread.start()
        proxy = f"http://user:pass@127.0.0.1:{listener.getsockname()[1]}"
        with client_setup(server=tls_server, ca_file=str(certificate[0]), proxy=proxy) as it:
            got = it.send()
            sent, port = it.server.sends[0], it.server.port
        thread.join()

    assert isinstance(got, Accepted)
    assert asked[0].startswith(b"CONNECT 127.0.0.1:%d HTTP/1" % port)
    assert b"Proxy-Authorization: Basic " in asked[0]
    assert sent.path.startswith("/cpaas/")
    assert "proxy-authorization" not in sent.headers


def pipe(source: socket.socket, sink: socket.socket) -> None:
    """Forward received data, and then the end of the stream."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(status: int) -> None:
    with client_setup() as elsewhere, client_setup() as it:
        it.server.acts.append(answer(status, b"", {"Location": f"{elsewhere.server.base_url}/here"}))
        it.send()

        assert len(it.server.sends) == 1
        assert elsewhere.server.connections == 0


def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with client_setup() as it:
        assert isinstance(it.send(), Accepted)


def test_configured_proxy_receives_the_calls() -> None:
    seen: list[str] = []

    def forward(peer: provider.Peer) -> bool:
        seen.append(peer.request.path)
        peer.send(reply(503, b""))
        return True

    with (
        client_setup() as proxy,
        client_setup(base_url="http://provider.invalid", proxy=proxy.server.base_url) as it,
    ):
        proxy.server._act = lambda request: forward  # type: ignore[method-assign]
        it.send()

        assert seen == ["http://provider.invalid/cpaas/auth/v1/token"]


def test_malformed_header_is_not_quoted_in_the_error(caplog: pytest.LogCaptureFixture) -> None:
    body = WHOLE.partition(b"\r\n\r\n")[2]
    with client_setup() as it:
        it.server.acts.append(
            raw(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\nno colon here\r\n\r\n%s" % (len(body), body))
        )
        it.send(sender_address=NUMBER)

        assert NUMBER not in caplog.text


def test_endless_response_is_abandoned_at_the_deadline() -> None:
    endless = flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 10, times=200_000)
    with client_setup(total_timeout=0.3, max_header_bytes=10**12) as it:
        it.server.acts.append(endless)
        got = it.send()

        assert isinstance(got, Ambiguous)
        assert got.error.message == "no answer in time"


@pytest.mark.parametrize("act", [provider.close, provider.reset, provider.silence, None])
def test_exceptions_contain_no_number_text_or_secret(act: Act | None) -> None:
    with ProviderServer() as server:
        server._act = lambda request: act or provider.close  # type: ignore[method-assign]
        base_url = server.base_url if act else f"http://127.0.0.1:{free_port()}"
        transport = Transport(account(base_url, read_timeout=0.2), HandClock())
        with pytest.raises((MaybeSent, RequestNotSent)) as caught:
            transport.exchange(
                "POST", f"/outbound/{NUMBER}/requests", {"Authorization": "Bearer canary"}, TEXT.encode()
            )
        # No source lines: those of this test contain the secret.
        shown = "".join(traceback.TracebackException.from_exception(caught.value, limit=0).format())
        transport.close()

        assert NUMBER not in shown
        assert TEXT not in shown
        assert "canary" not in shown
