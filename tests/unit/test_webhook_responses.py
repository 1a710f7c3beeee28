"""The webhook over real connections: the status of each request, its contract and its metrics.

docs/contracts/ingest.openapi.json names the statuses that a provider may see; `ROWS` has a request for each of them.
"""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from bridge.adapters.clock import SystemClock
from bridge.adapters.http import ingest_app
from bridge.adapters.http.ingest_app import EndpointSettings, Webhook
from bridge.adapters.http.server import connection, parser, registry
from bridge.adapters.http.server.parser import Request
from bridge.adapters.http.server.response import Response
from bridge.domain import notifications, strict_json
from bridge.domain.events import outgoing_event
from bridge.domain.outcomes import EventFormat
from bridge.ingest.durable_publisher import DurablePublisher, Publishing
from bridge.ingest.execution import NotificationSettings
from bridge.ingest.executor import NotificationExecutor
from bridge.ingest.notification import NotificationRules
from bridge.ingest.report import NotificationReport
from bridge.ops.metrics import Metrics
from bridge.ports.http_results import NotificationResult
from bridge.settings import Settings
from tests.fakes.memory import FakeMemory
from tests.fakes.publisher import FakePublisher
from tests.harness.contract_documents import DOCUMENTS
from tests.harness.http_server import make_server, serving
from tests.harness.raw_http import Client
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.adapters.http.server.server import HttpServer
    from bridge.ports.http_results import NotificationAnswered

CONTRACT = json.loads((DOCUMENTS / "ingest.openapi.json").read_text(encoding="utf-8"))
SETTINGS = Settings().ingest
PATH = SETTINGS.path
POST: dict[str, Any] = CONTRACT["paths"][PATH]["post"]
RESPONSES: dict[str, dict[str, Any]] = POST["responses"]
SCHEMAS: dict[str, Any] = CONTRACT["components"]["schemas"]
SECRET, OLD_SECRET = b"Bearer tangerine-4711", b"Bearer plum-0815"
BODY = b'{"inboundSMSMessageNotification":{}}'
#: They are about another path and another method; an unexpected exception is in no contract.
UNDOCUMENTED = {"404", "405", "500"}
#: No request was read, or it is counted as an internal error.
UNCOUNTED = {"431", "500"}


def request(
    *headers: bytes,
    body: bytes | None = None,
    authorization: bytes | None = SECRET,
    method: bytes = b"POST",
    target: str = PATH,
) -> bytes:
    lines = [method + b" " + target.encode() + b" HTTP/1.1", b"Host: bridge", *headers]
    if authorization is not None:
        lines.append(b"Authorization: " + authorization)
    is_framed = any(each.startswith((b"Content-Length", b"Transfer-Encoding")) for each in headers)
    if body is None:
        body = b"" if is_framed else BODY
    if not is_framed:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


def chunked(size: int) -> bytes:
    return request(b"Transfer-Encoding: chunked", body=b"%x\r\n%b\r\n0\r\n\r\n" % (size, b" " * size))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A request and its status."""

    status: str
    sent: bytes
    #: The client in the log line of a refusal.
    client: str | None = None
    endpoint: dict[str, Any] = field(default_factory=dict)
    server: dict[str, Any] = field(default_factory=dict)
    available: bool = True


def row(
    status: int, *headers: bytes, client: str | None = None, sent: bytes | None = None, **endpoint: Any
) -> Row:
    return Row(status=str(status), sent=sent or request(*headers), client=client, endpoint=endpoint)


PROVIDER = {
    "allow": (ip_network("198.51.100.0/24"), ip_network("2001:db8::/32")),
    "trusted_proxies": (ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8")),
}
EXPECTING = (b"Expect: 100-continue", b"Content-Length: 9")


def forwarded(status: int, *values: bytes, client: str | None = None, headers: tuple[bytes, ...] = ()) -> Row:
    lines = [b"X-Forwarded-For: " + value for value in values]
    return Row(status=str(status), sent=request(*lines, *headers), client=client, endpoint=PROVIDER)


ROWS = [
    # --- taken
    row(204),
    row(204, sent=request(target=f"{PATH}?a=b&%ff")),
    row(204, sent=request(authorization=OLD_SECRET)),
    row(204, sent=request(b"Transfer-Encoding: chunked", body=b"8\r\n{\"a\":{}}\r\n0\r\n\r\n")),
    row(204, sent=request(authorization=None), authorization=()),
    row(204, sent=request(authorization=b"Bearer any"), authorization=()),
    *[
        row(204, b"Content-Type: " + media_type)
        for media_type in (
            b"", b"application/json", b"Application/JSON; charset=utf-8", b"application/json;charset=iso-8859-1",
            b"application/vnd.kandy.notification+json", b"application/cloudevents+json; charset=utf-8",
        )
    ],
    *[row(204, b"Content-Encoding: " + coding) for coding in (b"Identity", b"")],
    forwarded(204, b"198.51.100.7"),
    forwarded(204, b"2001:db8::7"),
    forwarded(204, b"203.0.113.7", b"198.51.100.7, 10.0.0.2"),
    # --- no notification, or no HTTP
    row(400, sent=request(body=b"no")),
    row(400, sent=request(body=b" " * 64 * 1024)),
    # --- authorization: these and the next do not wait for the body
    *[
        row(401, sent=request(*EXPECTING, authorization=given), client="127.0.0.1")
        for given in (
            None, b"", b"Bearer wrong", b"bearer tangerine-4711", b"Bearer tangerine-471", b"Bearer tangerine-47111",
            b"Bearer t\xe4ngerine-4711", b"x" * 15_000, b"\xff" * 5000, SECRET + b"," + OLD_SECRET,
            SECRET + b"\r\nAuthorization: " + SECRET,
        )
    ],
    forwarded(401, b"198.51.100.7", client="198.51.100.7", headers=(b"Authorization: x",)),
    # --- clients
    row(403, *EXPECTING, client="127.0.0.1", allow=PROVIDER["allow"]),
    forwarded(403, b"203.0.113.7", client="203.0.113.7", headers=EXPECTING),
    forwarded(403, b"203.0.113.7", client="203.0.113.7", headers=(b"Content-Length: 65537",)),
    forwarded(403, b"198.51.100.7, 203.0.113.7", client="203.0.113.7"),
    forwarded(403, b"198.51.100.7, x x"),
    # --- paths and methods
    *[
        row(404, sent=request(*EXPECTING, target=target), client="127.0.0.1")
        for target in ("/", PATH + "/", PATH + "x", "/inbound-sms", PATH.upper(), "/livez")
    ],
    *[
        row(405, sent=request(*EXPECTING, method=method, target=target), client="127.0.0.1")
        for method in (b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH")
        for target in (PATH, "/elsewhere")
    ],
    # --- bodies
    row(408, b"Content-Length: 99", body_timeout=0.05),
    row(413, b"Content-Length: 65537", client="127.0.0.1"),
    row(413, b"Content-Length: 100000000000"),
    row(413, sent=request(b"Content-Length: 20", body=b"", authorization=b"wrong"), max_body=10),
    row(413, sent=chunked(11), max_body=10),
    row(413, sent=request(b"Transfer-Encoding: chunked", body=b"6\r\nxxxxxx\r\n5\r\nxxxxx\r\n"), max_body=10),
    *[
        row(415, *EXPECTING, b"Content-Type: " + media_type)
        for media_type in (
            b"application/+json", b"application/jsonp", b"application/xml", b"text/json", b"text/plain",
            b"multipart/form-data; boundary=application/json", b"application/x-www-form-urlencoded",
        )
    ],
    *[row(415, b"Content-Encoding: " + coding) for coding in (b"gzip", b"br, gzip")],
    row(431, b"X: " + b"x" * parser.MAX_HEAD),
    # --- no capacity
    row(503, max_in_flight=0),
    Row(status="503", sent=request(), available=False),
    Row(status="503", sent=request(), server={"max_connections": 0}),
]  # fmt: skip


@pytest.mark.parametrize("asked", ROWS, ids=[f"{one.status}-{number}" for number, one in enumerate(ROWS)])
def test_request_has_its_documented_status_and_is_counted_with_it(asked: Row) -> None:
    publisher, metrics, clock = FakePublisher(), Metrics(version="0.0.0"), SystemClock()
    publisher.available = asked.available
    report = NotificationReport(metrics, clock)
    to_message = partial(outgoing_event, exchange="sms.events", unrouted_queue="sms.unrouted")
    executor = NotificationExecutor(
        NotificationSettings(
            rules=NotificationRules(style=EventFormat(source="/sms-bridge/sms")), confirm_timeout=5
        ),
        FakeMemory(),
        DurablePublisher(Publishing(publisher=publisher, to_message=to_message, clock=clock)),
        report=report,
        clock=clock,
    )
    endpoint = EndpointSettings(**{"path": PATH, "authorization": (SECRET, OLD_SECRET)} | asked.endpoint)
    webhook = Webhook(endpoint, executor.take, refused=report.refused)
    with capture_logs() as lines, serving(webhook, **asked.server) as server, Client(server.port) as client:
        status = client.send(asked.sent).status(head=asked.sent.startswith(b"HEAD"))
    publisher.close()
    counted = {
        sample.labels["code"]: sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "sms_bridge_notifications_total" and sample.value
    }

    assert str(status) == asked.status
    assert len(publisher.taken) == (status == 204)
    if asked.status not in UNCOUNTED and not asked.server:
        assert counted == {asked.status: 1}
        assert [line["status"] for line in lines] == [status]
    if asked.client is not None:
        assert [line["client"] for line in lines] == [asked.client]
    if status == 405:
        assert client.headers["allow"] == "POST"
    if status == 415 and b"Content-Encoding" in asked.sent:
        assert client.headers["accept-encoding"] == "identity"
    if status == 401:
        # All of them get the same response.
        assert client.body == b'{"status": 401, "title": "Unauthorized"}'
        assert client.headers["www-authenticate"] == "Bearer"
    if asked.status not in UNDOCUMENTED:
        check_documented(client, RESPONSES[asked.status])


def check_documented(client: Client, documented: dict[str, Any]) -> None:
    media_type, _, _ = client.headers.get("content-type", "").partition(";")
    required = [
        name.lower() for name, header in documented.get("headers", {}).items() if header.get("required")
    ]

    assert (media_type in documented.get("content", {})) if client.body else "content" not in documented
    assert set(required) <= set(client.headers)
    if media_type == "application/problem+json":
        problem, schema = json.loads(client.body), SCHEMAS["Problem"]
        assert set(schema["required"]) <= set(problem) <= set(schema["properties"])


def test_every_documented_status_is_answered_in_a_row_and_every_response_is_documented() -> None:
    responses = {
        str(value.status)
        for module in (connection, registry, ingest_app)
        for value in vars(module).values()
        if isinstance(value, Response)
    }

    assert {one.status for one in ROWS} - UNDOCUMENTED == set(RESPONSES)
    assert responses - UNDOCUMENTED <= set(RESPONSES)


def test_documented_bounds_are_those_in_force() -> None:
    said = POST["requestBody"]["description"]

    assert f"At most {SETTINGS.max_body // 1024} KiB" in said
    assert f"within {EndpointSettings(path=PATH).body_timeout:g} s" in said
    assert f"no number over {strict_json.MAX_NUMBER_LENGTH} characters" in said
    assert f"at most {notifications.MAX_DEPTH} arrays and objects" in said
    assert f"over {parser.MAX_HEAD // 1024} KiB" in RESPONSES["431"]["description"]


def test_every_notification_that_is_read_is_documented() -> None:
    kinds = [reference["$ref"].rpartition("/")[2] for reference in SCHEMAS["Notification"]["anyOf"]]
    keys = [SCHEMAS[kind].get("required", []) for kind in kinds]

    assert sorted(key for required in keys for key in required) == sorted(notifications._READERS)


def test_secret_is_documented_as_the_header_that_is_compared() -> None:
    (name,) = CONTRACT["security"][0]
    scheme = CONTRACT["components"]["securitySchemes"][name]

    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "Authorization")


def test_empty_authorization_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="empty authorization"):
        EndpointSettings(path=PATH, authorization=(SECRET, b""))
    assert "tangerine" not in repr(EndpointSettings(path=PATH, authorization=(SECRET,)))


# --- beyond the table -------------------------------------------------------------------------------------------------


class Taker:
    """An ingest that accepts notifications and responds when the test permits."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.refused: list[tuple[int, str | None]] = []
        #: The responses that are due while `holds`.
        self.waiting: list[NotificationAnswered] = []
        self.holds = False
        self.result: NotificationResult | Exception = NotificationResult.PUBLISHED

    def __call__(self, body: bytes, answered: NotificationAnswered) -> None:
        self.taken.append(body)
        if self.holds:
            self.waiting.append(answered)
        else:
            answered(self.result)

    def serve(self, **endpoint: Any) -> HttpServer:
        webhook = Webhook(
            EndpointSettings(path=PATH, **endpoint),
            self,
            refused=lambda *refusal: self.refused.append(refusal),
        )
        return make_server(webhook)

    def answer(self, server: HttpServer, result: NotificationResult | Exception) -> None:
        async def answer() -> None:
            while self.waiting:
                self.waiting.pop()(result)

        server.call(answer, 5)


@pytest.fixture
def taker() -> Taker:
    return Taker()


@pytest.mark.parametrize("peer", ["198.51.100.7", "2001:db8::7", "203.0.113.7", None])
def test_peer_that_is_no_proxy_is_the_client(peer: str | None) -> None:
    refused: list[tuple[int, str | None]] = []
    asked = Request("POST", PATH.encode(), {b"x-forwarded-for": b"198.51.100.7"}, keeps_alive=True)
    asked.peer = peer  # which a test can't choose over a connection
    endpoint = EndpointSettings(
        path=PATH, allow=PROVIDER["allow"], trusted_proxies=(ip_network("10.0.0.0/8"),)
    )
    answer = Webhook(endpoint, Taker(), refused=lambda *refusal: refused.append(refusal)).check_head(asked)
    is_refused = peer is None or peer.startswith("203")

    assert answer is None or answer.status == 403
    assert refused == ([(403, peer)] if is_refused else [])


@pytest.mark.parametrize("later", [False, True])
def test_unexpected_exception_is_answered_500_and_its_text_not_logged(taker: Taker, later: bool) -> None:
    taker.holds, taker.result = later, RuntimeError("+16131234567 broke it")
    server = taker.serve()
    with capture_logs() as lines, Client(server.start()) as client:
        client.send(request())
        if later:
            wait_until(lambda: bool(taker.waiting))
            taker.answer(server, taker.result)
        status, body = client.status(), client.body
        taker.holds, taker.result = False, NotificationResult.PUBLISHED
        after = client.send(request()).status()
    server.stop(1)

    assert (status, json.loads(body)) == (500, {"status": 500, "title": "Internal Server Error"})
    assert after == 204
    assert [(line["event"], line["error"]) for line in lines] == [("request.failed", "RuntimeError")]
    assert "6131234567" not in repr(lines)


def test_body_in_pieces_is_accepted_whole_and_incomplete_body_is_not(taker: Taker) -> None:
    data, server = request(body=b'{"a":{}}'), taker.serve()
    port = server.start()
    with Client(port) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for begin in range(0, len(data), 7):
            client.send(data[begin : begin + 7])
            threading.Event().wait(0.005)
        assert client.status() == 204
    for half in (
        request(b"Content-Length: 9", body=b'{"b":{}}'),
        request(b"Transfer-Encoding: chunked", body=b'8\r\n{"b":{}}\r\n'),
    ):
        with Client(port) as client:
            client.send(half)
    wait_until(lambda: [status for status, _ in taker.refused] == [400, 400])
    server.stop(1)

    assert taker.taken == [b'{"a":{}}']


def test_capacity_returns_after_too_many_notifications(taker: Taker) -> None:
    taker.holds = True
    server = taker.serve(max_in_flight=2)
    port = server.start()
    with Client(port) as first, Client(port) as second, Client(port) as third:
        first.send(request())
        second.send(request())
        wait_until(lambda: len(taker.waiting) == 2)
        refused = third.send(request()).status(), third.headers["retry-after"]
        taker.answer(server, NotificationResult.PUBLISHED)
        statuses = [first.status(), second.status()]
        taker.holds = False
        after = third.send(request()).status()
    server.stop(1)

    assert (refused, statuses, after) == ((503, "5"), [204, 204], 204)


@pytest.mark.parametrize("data", [request(), request(b"Content-Length: 99")], ids=["whole", "half"])
def test_request_that_a_stop_cuts_off_is_answered_503(taker: Taker, data: bytes) -> None:
    taker.holds = True
    server = taker.serve()
    with Client(server.start()) as client:
        client.send(data)
        wait_until(lambda: any(getattr(each, "_current", None) for each in server._registry.connections))
        server.stop(0.1)

        assert (client.status(), client.headers["connection"], client.closed()) == (503, "close", True)


#: A valid header value (RFC 9110 section 5.5), or another text.
VALUES = st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode))


@pytest.fixture(scope="module")
def stall() -> Iterator[int]:
    """One server for all examples of a property."""
    server = Taker().serve(authorization=(SECRET,))
    yield server.start()
    server.stop(1)


# A machine under load is not a failure.
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(),
    authorization=st.one_of(st.just(SECRET), st.none(), VALUES),
    media_type=st.one_of(st.none(), st.just(b"application/json"), VALUES),
    query=st.binary(max_size=200),
)
def test_no_request_is_answered_500_or_echoed(
    stall: int, body: bytes, authorization: bytes | None, media_type: bytes | None, query: bytes
) -> None:
    fields = {
        b"Authorization": authorization,
        b"Content-Type": media_type,
        b"Content-Length": b"%d" % len(body),
    }
    lines = [b"%b: %b" % (name, value) for name, value in fields.items() if value is not None]
    first = b"POST %b?%b HTTP/1.1" % (PATH.encode(), query)
    with Client(stall) as client:
        client.send(b"\r\n".join([first, *lines, b"", body]))
        client.socket.shutdown(socket.SHUT_WR)
        status = client.status()

    # 0: a header's value has ended the request before, and the client closed its side.
    assert status in {0, 204, 400, 401, 413, 415}
    assert client.body in {
        b"",
        b"Invalid HTTP request received.",
        b'{"status": 401, "title": "Unauthorized"}',
        b'{"status": 415, "title": "Unsupported Media Type"}',
        b'{"status": 413, "title": "Request Entity Too Large"}',
        b'{"status": 413, "title": "Content Too Large"}',
    }
