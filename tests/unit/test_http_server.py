"""The HTTP server over real connections: framing, limits, pipelining, deadlines, stops, admin pages."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from bridge.adapters.http.admin_app import Admin
from bridge.adapters.http.server.application import Application
from bridge.adapters.http.server.connection import HttpConnection
from bridge.adapters.http.server.options import ServerOptions
from bridge.adapters.http.server.parser import MAX_FIELDS, MAX_HEAD
from bridge.adapters.http.server.response import UNAUTHORIZED, RawResponse, Response, problem
from bridge.adapters.http.server.server import HttpServer
from bridge.ops.metrics import Metrics
from bridge.ports.http_results import Readiness, Reason
from tests.harness.http_server import serving
from tests.harness.raw_http import TIMEOUT, Client, once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.adapters.http.server.parser import Request

PATH = "/hook"
BODY = b'{"a":{}}'
SECRET = b"Bearer tangerine-4711"


class Posts(Application):
    """A handler of posts with the secret; it answers all bodies but `no` with 204, at once or later."""

    max_body = 64 * 1024
    body_timeout = TIMEOUT

    def __init__(self, *, holds: bool = False, delay: float = 0.0) -> None:
        self.taken: list[bytes] = []
        self._holds = holds
        self._delay = delay
        self._waiting: list[Callable[[], object]] = []

    def check_head(self, request: Request) -> Response | None:
        if request.method != "POST":
            return problem(405)
        if request.declared > self.max_body:
            return problem(413)
        return None if request.is_authorized((SECRET,)) else UNAUTHORIZED

    def handle(self, request: Request, respond: Callable[[Response | RawResponse], None]) -> None:
        loop = asyncio.get_running_loop()
        if request.body == b"no":
            respond(problem(400))
            return
        self.taken.append(bytes(request.body))
        if self._holds:
            self._waiting.append(lambda: loop.call_soon_threadsafe(respond, Response(204)))
        elif self._delay:
            loop.call_later(self._delay, respond, Response(204))
        else:
            respond(Response(204))

    def release(self) -> None:
        """Answer waiting requests, and all further ones at once. Thread-safe."""
        self._holds = False
        for answer in self._waiting:
            answer()


@pytest.fixture(scope="module")
def stall() -> Iterator[tuple[int, Posts]]:
    """Start a server for all tests that need no other, with the list of accepted bodies."""
    posts = Posts()
    with serving(posts) as server:
        yield server.port, posts


@pytest.fixture
def port(stall: tuple[int, Posts]) -> int:
    return stall[0]


@pytest.fixture
def taken(stall: tuple[int, Posts]) -> list[bytes]:
    stall[1].taken.clear()
    return stall[1].taken


def request(body: bytes = BODY, *headers: bytes, method: bytes = b"POST", version: bytes = b"1.1") -> bytes:
    lines = [
        method + b" " + PATH.encode() + b" HTTP/" + version,
        b"Host: bridge",
        b"Authorization: " + SECRET,
    ]
    if not any(each.lower().startswith((b"content-length", b"transfer-encoding")) for each in headers):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, *headers, b"", body])


def test_concurrent_requests_are_each_answered(port: int, taken: list[bytes]) -> None:
    bodies = [b'{"a":{"n":%d}}' % number for number in range(200)]

    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(lambda body: once(port, request(body)), bodies))

    assert set(statuses) == {204}
    assert sorted(taken) == sorted(bodies)


@pytest.mark.parametrize("blanks", [b"   ", b"\t", b" \t "])
def test_trailing_blanks_are_not_part_of_a_field_value(port: int, blanks: bytes) -> None:
    authorized = request(BODY).replace(SECRET, SECRET + blanks)
    declared = request(BODY, b"Content-Length: 8" + blanks)
    with Client(port) as client:
        statuses = [client.send(wire + request(b"no")).status() for wire in (authorized, declared)]
        statuses += [client.status(), client.status()]

    assert statuses == [204, 400, 204, 400]


def test_trailing_blanks_are_not_part_of_a_transfer_coding(port: int, taken: list[bytes]) -> None:
    body = b'8\r\n{"a":{}}\r\n0\r\n\r\n'
    with Client(port) as client:
        client.send(request(body, b"Transfer-Encoding: chunked ") + request(b"no"))

        assert (client.status(), client.status()) == (204, 400)
    assert len(taken) == 1


@pytest.mark.parametrize(
    "coding",
    [
        b"chunked\x0b",
        b"chunked\xa0",
        b"chunked,",
        b"chunked x",
        b"\x0bchunked",
        b"chunked\r\nTransfer-Encoding:",
    ],
)
def test_transfer_coding_with_another_value_closes_the_connection(
    port: int, taken: list[bytes], coding: bytes
) -> None:
    with Client(port) as client:
        client.send(request(b'8\r\n{"a":{}}\r\n0\r\n\r\n', b"Transfer-Encoding: " + coding) + request())

        assert (client.status(), client.closed()) == (400, True)
    assert taken == []


UPGRADE = (
    b"Connection: Upgrade, HTTP2-Settings",
    b"Upgrade: h2c",
    b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk",
)
CHUNKED = b"Transfer-Encoding: chunked"


@pytest.mark.parametrize("cut", [None, 20, -30, -2, -1])
@pytest.mark.parametrize(
    "polling",
    [
        request(b'{"a":{"n":1}}', *UPGRADE),
        request(b'3\r\n{"a\r\na\r\n":{"n":1}}\r\n0\r\nX: x\r\n\r\n', *UPGRADE, CHUNKED),
        request(b'{"a":{"n":1}}', *UPGRADE, version=b"1.0"),
        request(b'{"a":{"n":1}}', b"Connection: upgrade, close", b"Upgrade: websocket"),
    ],
    ids=["length", "chunks", "HTTP/1.0", "close"],
)
def test_upgrade_header_of_a_notification_is_ignored(
    port: int, taken: list[bytes], polling: bytes, cut: int | None
) -> None:
    with Client(port) as client:
        client.send(polling[:cut])
        if cut is not None:
            threading.Event().wait(0.02)
            client.send(polling[cut:])
        status = client.status()

    assert status == 204
    assert taken == [b'{"a":{"n":1}}']


def test_request_after_an_upgrade_request_is_answered(port: int) -> None:
    polling = request(b'{"a":{"n":1}}', *UPGRADE)

    with Client(port) as client:
        client.send((polling + request(b"no", *UPGRADE) + request(method=b"GET")) * 50)
        statuses = [client.status() for _ in range(150)]

    assert statuses == [204, 400, 405] * 50


def test_notification_with_an_upgrade_header_is_framed_normally(port: int) -> None:
    for framing in (b"Transfer-Encoding: gzip", b"Content-Length: 5\r\nTransfer-Encoding: chunked"):
        with Client(port) as client:
            client.send(request(b"0\r\n\r\n", *UPGRADE, framing))

            assert (client.status(), client.closed()) == (400, True)


def test_trailer_fields_do_not_count_as_headers(port: int) -> None:
    head = request(b"", b"Transfer-Encoding: chunked").replace(b"Authorization: " + SECRET + b"\r\n", b"")
    status = once(port, head + b'8\r\n{"a":{}}\r\n0\r\nAuthorization: ' + SECRET + b"\r\n\r\n")

    assert status == 401


def test_chunked_body_over_the_limit_is_refused_before_its_end(port: int) -> None:
    chunk = b"1000\r\n" + b" " * 0x1000 + b"\r\n"

    with Client(port) as client:
        client.send(request(b"", b"Transfer-Encoding: chunked"))
        client.send(chunk * 17)
        early = client.status()
        client.send(chunk * 100 + b"0\r\n\r\n" + request())
        after = client.status()

    assert (early, after) == (413, 204)


def test_maximum_number_of_fields_is_read(port: int) -> None:
    assert once(port, request(BODY, *[b"A:"] * (MAX_FIELDS - 3))) == 204


def test_client_that_sends_on_after_a_refusal_receives_the_response(port: int) -> None:
    size = 4_000_000
    with Client(port) as client:
        client.send(request(b"", b"Connection: close", b"Content-Length: %d" % size) + b" " * size)

        assert client.status() == 413
        assert client.closed()


def test_connection_closed_by_the_client_after_a_refused_body_is_released(port: int) -> None:
    before = connections()
    with Client(port) as client:
        client.send(request(b"", b"Connection: close", b"Content-Length: 100000"))
        assert client.status() == 413
        client.socket.shutdown(socket.SHUT_WR)

        assert client.closed()
    wait_for(lambda: connections() <= before)


def test_half_closed_client_receives_its_responses() -> None:
    posts = Posts(holds=True)
    with serving(posts) as server, Client(server.port) as client:
        client.send(request() + request(BODY, method=b"GET") + request())
        client.socket.shutdown(socket.SHUT_WR)
        wait_for(lambda: bool(posts.taken))
        posts.release()
        statuses = [client.status() for _ in range(4)]

    assert statuses == [204, 405, 204, 0]


def test_client_that_disconnects_within_a_request_is_not_answered(port: int, taken: list[bytes]) -> None:
    with Client(port) as client:
        client.send(request(b"{", b"Content-Length: 2"))
        client.socket.shutdown(socket.SHUT_WR)

        assert client.closed()
    assert not taken


def test_http_1_0_client_gets_no_100_continue(port: int) -> None:
    with Client(port) as client:
        client.send(request(b"", b"Expect: 100-continue", b"Content-Length: 8", version=b"1.0") + BODY)

        assert client.status() == 204


def test_refused_request_with_expect_gets_no_100_continue(port: int) -> None:
    expecting = request(b"", b"Expect: 100-continue", b"Content-Length: 8")

    refused = once(port, expecting.replace(SECRET, b"Bearer wrong"))
    with Client(port) as client:
        go_on = client.send(expecting).status()
        taken = client.send(BODY).status()

    assert (refused, go_on, taken) == (401, 100, 204)


@pytest.mark.parametrize(
    "garbage",
    [
        request(b"0\r\n\r\n", b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        request(b"0\r\n\r\n", b"Transfer-Encoding: chunked", b"Content-Length: 5"),
        request(BODY, b"Content-Length: 2", b"Content-Length: 3"),
        request(BODY, b"Content-Length: -2"),
        request(BODY, b"Content-Length: +2"),
        request(b"zz\r\n{}\r\n0\r\n\r\n", b"Transfer-Encoding: chunked"),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00\xff\xfe garbage\r\n\r\n",
        b"POST\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        request(version=b"2.0"),
        request(b"0\r\n\r\n", b"Transfer-Encoding: gzip, chunked"),
        request(b"0\r\n\r\n", b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"),
        b"POST /hook HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        b"POST /hook HTTP/1.1\r\nHost: a\r\nhost: b\r\nContent-Length: 0\r\n\r\n",
        b"POST /hook HTTP/1.0\r\nHost: a\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_connection_that_does_not_speak_http_is_closed(port: int, taken: list[bytes], garbage: bytes) -> None:
    with Client(port) as client:
        status = client.send(garbage).status()
        closed = client.closed()
    after = once(port, request())

    assert status == 400
    assert closed
    assert after == 204
    assert len(taken) == 1


@pytest.mark.parametrize(
    "head",
    [
        b"POST /hook HTTP/1.1\r\nX-Long: " + b"x" * 1_000_000,
        b"POST /" + b"x" * 1_000_000,
        b"POST /hook HTTP/1.1\r\n" + b"X-Many: x\r\n" * 2000 + b"\r\n",
        request(b"", b"X-Long: " + b"x" * MAX_HEAD),
        request(b"", *[b"A:"] * (MAX_FIELDS - 2)),
        b"\r\n" * 1_000_000,
    ],
    ids=[
        "endless field",
        "endless target",
        "many fields",
        "one long field",
        "a field too many",
        "blank lines",
    ],
)
def test_huge_head_is_refused_with_a_response(port: int, head: bytes) -> None:
    with Client(port) as client:
        status = client.send(head).status()
    after = once(port, request())

    assert status == 431
    assert after == 204


def test_size_of_a_head_does_not_include_pipelined_requests(port: int) -> None:
    burst = request() * 400
    with Client(port) as client:
        client.send(burst[:20])
        threading.Event().wait(0.05)
        client.send(burst[20:-20])
        threading.Event().wait(0.05)
        client.send(burst[-20:])
        statuses = [client.status() for _ in range(400)]

    assert statuses == [204] * 400


def test_malformed_request_after_a_notification_is_answered_in_order(port: int, taken: list[bytes]) -> None:
    with Client(port) as client:
        client.send(request() + b"}")
        statuses = client.status(), client.status()
        closed = client.closed()

    assert statuses == (204, 400)
    assert closed
    assert len(taken) == 1


def test_content_length_with_thousands_of_zeros_is_accepted(port: int) -> None:
    length = b"POST /hook HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"0" * 5000

    assert once(port, length + b"\r\n\r\n") == 401


def test_pipelined_requests_are_answered_in_order(port: int) -> None:
    several = request(b'{"a":{"n":1}}') + request(b"no") + request(b'{"a":{"n":2}}') + request(method=b"GET")

    with Client(port) as client:
        client.send(several * 50)
        statuses = [client.status() for _ in range(200)]

    assert statuses == [204, 400, 204, 405] * 50


@pytest.fixture(scope="module")
def hasty() -> Iterator[int]:
    """Serve with 0.5 s for a head and 1 s of idle time."""
    app = Admin(lambda: Readiness(ready=True), Metrics(version="0.0.0").registry)
    with serving(app, keep_alive=1, head_timeout=0.5, max_connections=20) as server:
        yield server.port


@pytest.mark.parametrize("begun", [b"", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nHost: x\r\n", b"\r\n\r\n"])
def test_head_that_is_not_received_in_time_closes_the_connection(hasty: int, begun: bytes) -> None:
    with Client(hasty) as client:
        client.send(begun)

        assert client.closed()


def test_response_may_take_longer_than_the_head_timeout_with_a_pipelined_request() -> None:
    with serving(Posts(delay=0.6), keep_alive=0, head_timeout=0.5) as server, Client(server.port) as client:
        client.send(request() + request())
        statuses = client.status(), client.status()

    assert statuses == (204, 204)


def test_slow_refused_body_does_not_keep_its_connection_open(hasty: int) -> None:
    with Client(hasty) as client:
        status = client.send(
            b"POST /livez HTTP/1.1\r\nHost: bridge\r\nContent-Length: 1000000\r\n\r\n"
        ).status()

        assert status == 405
        wait_for(lambda: drip(client), every=0.1)


def drip(client: Client) -> bool:
    """Send a byte and return whether the connection is closed."""
    try:
        client.send(b"x")
    except ConnectionError:
        return True
    return False


class Answering(Application):
    """A handler with the same response for every client."""

    def __init__(self, size: int) -> None:
        self._answer = Response(200, body=b" " * size)

    def check_head(self, _: Request) -> Response:
        return self._answer


@contextmanager
def answering(size: int, **bind: Any) -> Iterator[int]:
    """Answer every request with `size` bytes; a client that does not read receives a few thousand."""
    with serving(Answering(size), **bind) as server:
        assert server._socket is not None
        server._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        yield server.port


ASKED = b"GET / HTTP/1.1\r\nHost: bridge\r\n\r\n"


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        (ASKED * 1000, 100_000),
        (ASKED, 100_000),
        (ASKED.replace(b"1.1", b"1.0"), 100_000),
        # Few enough that asyncio counts them as written.
        (ASKED, 10_000),
        (ASKED.replace(b"1.1", b"1.0"), 10_000),
    ],
)
def test_client_that_does_not_read_its_response_is_disconnected(asked: bytes, size: int) -> None:
    bind = {"keep_alive": 0, "head_timeout": 0.3, "write_timeout": 0.3}
    with answering(size, **bind) as port, Client(port, deaf=True) as client:
        begun = client.send(asked).socket.recv(1)

        assert begun == b"H"
        wait_for(lambda: drip(client), every=0.1)


def test_client_that_does_not_read_its_error_response_is_disconnected() -> None:
    with answering(10_000, head_timeout=0.3, keep_alive=60) as port, Client(port, deaf=True) as client:
        begun = client.send(ASKED).socket.recv(1)
        client.send(b"rubbish\r\n\r\n")

        assert begun == b"H"
        wait_for(lambda: drip(client), every=0.1)


def test_slowly_read_response_arrives_complete() -> None:
    with answering(100_000, write_timeout=TIMEOUT) as port, Client(port, deaf=True) as client:
        client.send(ASKED)
        wait_for(lambda: len(client.stream.peek()) > 0)

        assert (client.status(), len(client.body)) == (200, 100_000)


def test_stop_logs_no_traceback_for_a_client_that_does_not_read(caplog: pytest.LogCaptureFixture) -> None:
    with answering(100_000, write_timeout=60) as port:
        client = Client(port, deaf=True)
        begun = client.send(ASKED * 1000).socket.recv(1)
    client.__exit__()

    assert begun == b"H"
    assert [record for record in caplog.records if record.exc_info] == []


def connections() -> int:
    return sum(isinstance(each, HttpConnection) for each in gc.get_objects())


def test_closed_connection_is_freed_without_the_garbage_collector(port: int) -> None:
    gc.collect()
    before = connections()
    gc.disable()
    try:
        for data in [request(), b"rubbish\r\n\r\n", request(b"{", b"Content-Length: 2"), b"POST /ho"] * 10:
            with Client(port) as client:
                client.send(data)
        wait_for(lambda: connections() <= before)
    finally:
        gc.enable()


def test_http_1_0_is_answered_and_closed(port: int) -> None:
    with Client(port) as client:
        status = client.send(request(version=b"1.0")).status()

        assert (status, client.closed()) == (204, True)


def test_head_request_is_refused_without_a_body(port: int) -> None:
    with Client(port) as client:
        client.send(request(b"", method=b"HEAD") + request())
        statuses = client.status(head=True), client.status()

    assert statuses == (405, 204)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request().replace(b"POST /hook", b"POST http://bridge/hook"), 204),
        (request().replace(b"POST /hook", b"POST /hook?a=%ff"), 204),
        (request().replace(b"POST /hook", b"POST http://bridge"), 400),
        (request().replace(b"POST /hook", b"POST /hook?\xff\xfe"), 400),
        (b"OPTIONS * HTTP/1.1\r\nHost: bridge\r\n\r\n", 405),
        (b"CONNECT bridge:443 HTTP/1.1\r\n\r\n", 400),
    ],
)
def test_unusual_targets_are_answered(port: int, data: bytes, status: int) -> None:
    assert once(port, data) == status


def test_answers_do_not_name_the_server(port: int) -> None:
    with Client(port) as client:
        client.send(request())

        assert b"server:" not in client.socket.recv(1000).lower()


def test_stop_finishes_requests_in_flight() -> None:
    posts = Posts(holds=True)
    with serving(posts) as server, Client(server.port) as client, ThreadPoolExecutor(1) as pool:
        client.send(request())
        wait_for(lambda: len(posts.taken) == 1)
        status = pool.submit(client.status)
        threading.Timer(0.3, posts.release).start()

    assert status.result(TIMEOUT) == 204


def test_port_in_use_is_raised_to_the_caller() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        app = Admin(lambda: Readiness(ready=True), Metrics(version="0").registry)
        server = HttpServer(app, ServerOptions(host="127.0.0.1", port=taken.getsockname()[1]), name="admin")

        with pytest.raises(OSError, match="in use"):
            server.start()

    server.stop(1)


def wait_for(condition: Callable[[], bool], *, every: float = 0.01) -> None:
    """Poll until `condition` holds."""
    deadline = time.monotonic() + TIMEOUT
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(every)


def get(port: int, path: str, accept: str = "*/*") -> tuple[int, str, bytes]:
    with Client(port) as client:
        client.send(f"GET {path} HTTP/1.0\r\nAccept: {accept}\r\n\r\n".encode())
        head, _, body = client.stream.read().partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    media_type = next((line.split(": ")[1] for line in lines if line.startswith("content-type")), "")
    return int(lines[0].split()[1]), media_type, body


@pytest.fixture
def admin() -> Iterator[tuple[int, list[Readiness]]]:
    states = [Readiness(ready=True, reasons=(Reason("broker", True, "connected"),))]
    with serving(Admin(lambda: states[-1], Metrics(version="0.0.0").registry)) as server:
        yield server.port, states


def test_readiness_names_the_reason(admin: tuple[int, list[Readiness]]) -> None:
    port, states = admin
    ready = get(port, "/readyz")
    states.append(Readiness(ready=False, reasons=(Reason("broker", False, "no connection for 12 s"),)))
    not_ready = get(port, "/readyz")

    assert ready[0] == 200
    assert not_ready[0] == 503
    assert json.loads(not_ready[2]) == {
        "ready": False,
        "reasons": {"broker": {"ok": False, "detail": "no connection for 12 s"}},
    }


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_head_request_of_a_page_is_answered_without_a_body(
    admin: tuple[int, list[Readiness]], path: str
) -> None:
    with Client(admin[0]) as client:
        client.send(f"HEAD {path} HTTP/1.1\r\nHost: bridge\r\n\r\n".encode())
        head = client.status(head=True), int(client.headers["content-length"]) > 0
        client.send(f"POST {path} HTTP/1.1\r\nHost: bridge\r\n\r\n".encode())
        refused = client.status(), client.headers["allow"]

    assert (head, refused) == ((200, True), (405, "GET, HEAD"))


def test_liveness_depends_on_no_other_service(admin: tuple[int, list[Readiness]]) -> None:
    port, states = admin
    states.clear()  # an exception in the handler

    assert get(port, "/livez")[0] == 200
    assert get(port, "/readyz")[0] == 500


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text; version=1.0.0;"),
        ("text/plain; version=garbage", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_metrics_are_in_the_requested_format(
    admin: tuple[int, list[Readiness]], accept: str, media_type: str
) -> None:
    status, given, body = get(admin[0], "/metrics", accept)

    assert status == 200
    assert given.startswith(media_type)
    assert b'sms_bridge_notifications_total{code="204",type="sms.notification.unrecognized"} 0.0' in body
