"""The door, over real connections: who and what is let in, and what is answered; HTTP alone is test_serving's."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from bridge.adapters.http.ingest_app import EndpointSettings, Webhook
from bridge.adapters.http.server.options import ServerOptions
from bridge.adapters.http.server.parser import Request
from bridge.adapters.http.server.server import HttpServer
from bridge.domain.errors import InvalidNotification
from bridge.ports.serving import NotificationResult
from tests.harness.raw_http import Client
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bridge.ports.serving import NotificationAnswered

PATH = "/inbound-sms/webhook"
BODY = b'{"inboundSMSMessageNotification":{}}'
SECRET, OLD_SECRET = b"Bearer tangerine-4711", b"Bearer plum-0815"


class Taker:
    """Stands behind the door and remembers what came through."""

    def __init__(self, *, result: NotificationResult | Exception = NotificationResult.PUBLISHED) -> None:
        self.result = result
        self.taken: list[bytes] = []
        self.refused: list[int] = []
        self.clients: list[str | None] = []
        #: Who waits for an answer while `held`.
        self.waiting: list[NotificationAnswered] = []
        self.held = False

    def refuse(self, status: int, client: str | None) -> None:
        self.refused.append(status)
        self.clients.append(client)

    def __call__(self, body: bytes, answered: NotificationAnswered) -> None:
        self.taken.append(body)
        if self.held:
            self.waiting.append(answered)
        elif isinstance(self.result, Exception):
            answered(self.result)
        else:
            answered(self.result)


@contextmanager
def serving(taker: Taker, **door: Any) -> Iterator[HttpServer]:
    webhook = Webhook(EndpointSettings(path=PATH, **door), taker, refused=taker.refuse)
    server = HttpServer(webhook, ServerOptions(host="127.0.0.1", port=0), name="ingest")
    server.start()
    try:
        yield server
    finally:
        server.stop(1)


class Got:
    """An answer, read to its end."""

    def __init__(self, client: Client, *, head: bool = False) -> None:
        self.status = client.status(head=head)
        self.headers, self.body = client.headers, client.body

    @property
    def said(self) -> Any:
        return json.loads(self.body)


def wire(
    body: bytes = BODY,
    *,
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
    target: str = PATH,
    whole: bool = True,
) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: bridge"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if whole:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def ask(taker: Taker, data: bytes, *, head: bool = False, **door: Any) -> Got:
    with serving(taker, **door) as server, Client(server.port) as client:
        client.send(data)
        return Got(client, head=head)


def post(taker: Taker, body: bytes = BODY, *, headers: Mapping[str, str] | None = None, **door: Any) -> Got:
    return ask(taker, wire(body, headers=headers), **door)


def test_a_durable_notification_is_answered_204_without_a_body() -> None:
    taker = Taker()

    answer = post(taker)

    assert (answer.status, answer.body) == (204, b"")
    assert taker.taken == [BODY]
    assert taker.refused == []


def test_what_could_not_be_made_durable_is_asked_for_again() -> None:
    answer = post(Taker(result=NotificationResult.REFUSED), retry_after=7)

    assert answer.status == 503
    assert answer.headers["retry-after"] == "7"


def test_what_is_no_notification_is_answered_400_with_the_reason() -> None:
    answer = post(Taker(result=InvalidNotification("body: not a JSON object")))

    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.said == {"status": 400, "title": "Bad Request", "detail": "body: not a JSON object"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("path", [PATH, "/elsewhere"])
def test_only_post_is_allowed(method: str, path: str) -> None:
    taker = Taker()

    answer = ask(taker, wire(method=method, target=path), head=method == "HEAD")

    assert answer.status == 405
    assert answer.headers["allow"] == "POST"
    assert taker.refused == [405]


@pytest.mark.parametrize(
    "path", ["/", PATH + "/", PATH + "x", "/inbound-sms", "/INBOUND-SMS/WEBHOOK", "/livez"]
)
def test_any_other_path_is_not_found(path: str) -> None:
    taker = Taker()

    answer = ask(taker, wire(target=path), authorization=(SECRET,))

    assert answer.status == 404
    assert taker.taken == []


def test_a_query_is_not_looked_at() -> None:
    answer = ask(Taker(), wire(target=f"{PATH}?a=b&%ff"))

    assert answer.status == 204


def test_the_largest_body_is_taken_and_one_byte_more_is_not() -> None:
    taker = Taker()

    answers = [post(taker, b" " * size).status for size in (64 * 1024, 64 * 1024 + 1)]

    assert answers == [204, 413]
    assert [len(body) for body in taker.taken] == [64 * 1024]


def test_a_declared_length_over_the_limit_is_refused_before_authorization_is_looked_at() -> None:
    answer = post(Taker(), b" " * 20, authorization=(SECRET,), max_body=10)

    assert answer.status == 413


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (None, 401),
        ("", 401),
        ("Bearer wrong", 401),
        ("bearer tangerine-4711", 401),
        ("Bearer tangerine-471", 401),
        ("Bearer tangerine-47111", 401),
        ("Bearer tängerine-4711", 401),
        ("x" * 15_000, 401),
        ("Bearer tangerine-4711,Bearer plum-0815", 401),
        ("Bearer tangerine-4711", 204),
        ("Bearer plum-0815", 204),
    ],
)
def test_only_a_configured_authorization_opens(given: str | None, status: int) -> None:
    taker = Taker()
    headers = {} if given is None else {"Authorization": given}

    answer = post(taker, headers=headers, authorization=(SECRET, OLD_SECRET))

    assert answer.status == status
    assert len(taker.taken) == (status == 204)


def test_refusals_of_authorization_look_alike_whatever_was_sent() -> None:
    answers = [
        post(Taker(), body, headers=headers, authorization=(SECRET,))
        for body in (BODY, b"", b"no json")
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "\u00ff" * 5000})
    ]

    assert {answer.body for answer in answers} == {b'{"status": 401, "title": "Unauthorized"}'}
    assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}


PROVIDER = (ip_network("198.51.100.0/24"), ip_network("2001:db8::/32"))
PROXIES = (ip_network("10.0.0.0/8"),)


@pytest.mark.parametrize(
    ("peer", "forwarded", "status", "client"),
    [
        ("198.51.100.7", None, None, None),
        ("2001:db8::7", None, None, None),
        ("203.0.113.7", None, 403, "203.0.113.7"),
        ("203.0.113.7", b"198.51.100.7", 403, "203.0.113.7"),
        ("10.0.0.1", b"198.51.100.7", None, None),
        ("10.0.0.1", b"198.51.100.7, 203.0.113.7", 403, "203.0.113.7"),
        ("10.0.0.1", b"198.51.100.7, x x", 403, None),
        ("10.0.0.1", None, 403, "10.0.0.1"),
        (None, b"198.51.100.7", 403, None),
    ],
)
def test_with_allowed_networks_only_clients_of_theirs_come_in(
    peer: str | None, forwarded: bytes | None, status: int | None, client: str | None
) -> None:
    taker = Taker()
    fields = {} if forwarded is None else {b"x-forwarded-for": forwarded}
    request = Request("POST", PATH.encode(), fields, keeps_alive=True)
    request.peer = peer  # which a test can't choose over a connection

    webhook = Webhook(
        EndpointSettings(path=PATH, allow=PROVIDER, trusted_proxies=PROXIES), taker, refused=taker.refuse
    )
    answer = webhook.check_head(request)

    assert (answer and answer.status, taker.clients) == (status, [] if status is None else [client])


LOOPBACK = (ip_network("127.0.0.0/8"), *PROXIES)


def test_what_several_proxies_wrote_into_headers_of_their_own_counts_in_its_order() -> None:
    head = wire(headers={"X-Forwarded-For": "203.0.113.7", "x-forwarded-for": "198.51.100.7, 10.0.0.2"})

    assert ask(Taker(), head, allow=PROVIDER, trusted_proxies=LOOPBACK).status == 204


def test_a_stranger_learns_nothing_of_authorization_and_whatever_is_refused_has_its_client_told() -> None:
    taker = Taker()
    stranger, provider = {"X-Forwarded-For": "203.0.113.7"}, {"X-Forwarded-For": "198.51.100.7"}
    secret = {"Authorization": SECRET.decode()}
    heads = [
        wire(headers=stranger | secret),
        wire(headers=stranger | {"Content-Length": "65537"}, whole=False),
        wire(headers=provider),
    ]
    door: dict[str, Any] = {"allow": PROVIDER, "trusted_proxies": LOOPBACK, "authorization": (SECRET,)}

    statuses = [ask(taker, head, **door).status for head in heads]

    assert statuses == taker.refused == [403, 403, 401]
    assert taker.clients == ["203.0.113.7", "203.0.113.7", "198.51.100.7"]


def test_two_authorizations_are_none() -> None:
    one = {"Authorization": SECRET.decode(), "authorization": SECRET.decode()}

    assert post(Taker(), headers=one, authorization=(SECRET,)).status == 401


def test_without_a_configured_authorization_anybody_may_come_in() -> None:
    assert post(Taker(), headers={"Authorization": "Bearer whatever"}).status == 204


def test_an_empty_authorization_is_refused_at_once_for_it_would_let_in_whoever_sends_none() -> None:
    with pytest.raises(ValueError, match="empty authorization"):
        EndpointSettings(path=PATH, authorization=(SECRET, b""))


def test_a_door_does_not_show_its_secrets() -> None:
    assert "tangerine" not in repr(EndpointSettings(path=PATH, authorization=(SECRET,)))


@pytest.mark.parametrize(
    ("media_type", "status"),
    [
        (None, 204),
        ("", 204),
        ("application/json", 204),
        ("Application/JSON; charset=utf-8", 204),
        ("application/json;charset=iso-8859-1", 204),
        ("application/vnd.kandy.notification+json", 204),
        ("application/cloudevents+json; charset=utf-8", 204),
        ("application/+json", 415),
        ("application/jsonp", 415),
        ("application/xml", 415),
        ("text/json", 415),
        ("text/plain", 415),
        ("multipart/form-data; boundary=application/json", 415),
        ("application/x-www-form-urlencoded", 415),
    ],
)
def test_the_content_type_is_json_or_missing(media_type: str | None, status: int) -> None:
    headers = {} if media_type is None else {"Content-Type": media_type}

    assert post(Taker(), headers=headers).status == status


@pytest.mark.parametrize("later", [False, True])
def test_what_breaks_behind_the_door_is_answered_500_and_told_nobody(later: bool) -> None:
    taker = Taker(result=RuntimeError("+16131234567 broke it"))
    taker.held = later

    with capture_logs() as lines, serving(taker) as server, Client(server.port) as client:
        client.send(wire())
        if later:
            wait_until(lambda: len(taker.waiting) == 1)
            assert server._loop is not None
            server._loop.call_soon_threadsafe(taker.waiting[0], taker.result)
        answer = Got(client)
        taker.held, taker.result = False, NotificationResult.PUBLISHED
        after = Got(client.send(wire()))

    assert answer.status == 500
    assert answer.said == {"status": 500, "title": "Internal Server Error"}
    assert after.status == 204
    assert [(line["event"], line["error"]) for line in lines] == [("request.failed", "RuntimeError")]
    assert "6131234567" not in repr(lines)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (wire(method="GET", whole=False), 405),
        (wire(target="/elsewhere", whole=False), 404),
        (wire(headers={"X-Forwarded-For": "203.0.114.7"}, whole=False), 403),
        (wire(headers={"Content-Length": "65537"}, whole=False), 413),
        (wire(headers={"Authorization": "\u00ff"}, whole=False), 401),
        (wire(headers={"Authorization": SECRET.decode(), "Content-Type": "text/plain"}, whole=False), 415),
    ],
)
def test_nothing_of_a_body_is_waited_for_where_the_headers_refuse(data: bytes, status: int) -> None:
    taker = Taker()
    framed = data if b"Content-Length" in data else data.replace(b"Host", b"Content-Length: 9\r\nHost")
    door: dict[str, Any] = {
        "authorization": (SECRET,),
        "allow": (ip_network("203.0.113.0/24"), ip_network("127.0.0.0/8")),
        "trusted_proxies": (ip_network("127.0.0.1/32"),),
    }
    head = framed.partition(b"\r\n\r\n")[0].replace(b"\r\n", b"\r\nExpect: 100-continue\r\n", 1)

    answer = ask(taker, head + b"\r\n\r\n", **door)

    assert (answer.status, taker.taken, taker.refused) == (status, [], [status])


def test_a_body_in_pieces_arrives_whole() -> None:
    taker, data = Taker(), wire(b'{"a":{}}')

    with serving(taker) as server, Client(server.port) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for begin in range(0, len(data), 7):
            client.send(data[begin : begin + 7])
            threading.Event().wait(0.005)
        assert client.status() == 204

    assert taker.taken == [b'{"a":{}}']


def test_a_body_of_unknown_length_is_counted_as_it_comes_and_the_rest_not_waited_for() -> None:
    taker = Taker()
    head = wire(b"", headers={"Transfer-Encoding": "chunked"}, whole=False)

    answer = ask(taker, head + b"6\r\nxxxxxx\r\n5\r\nxxxxx\r\n", max_body=10)

    assert (answer.status, taker.taken, taker.refused) == (413, [], [413])


def test_a_body_that_does_not_come_in_time_is_given_up() -> None:
    taker = Taker()

    answer = ask(taker, wire(b"{", headers={"Content-Length": "2"}, whole=False), body_timeout=0.05)

    assert (answer.status, answer.headers["connection"], taker.refused) == (408, "close", [408])


def test_half_a_body_of_a_client_that_is_gone_is_not_taken_for_a_whole_one() -> None:
    taker = Taker()
    with serving(taker) as server:
        with Client(server.port) as client:
            client.send(wire(b'{"a":{}}', headers={"Content-Length": "9"}, whole=False))
        with Client(server.port) as client:
            client.send(wire(b'8\r\n{"a":{}}\r\n', headers={"Transfer-Encoding": "chunked"}, whole=False))
        wait_until(lambda: taker.refused == [400, 400])

    assert taker.taken == []


def test_more_notifications_than_fit_are_refused_at_once_and_there_is_room_again_after() -> None:
    taker = Taker()
    taker.held = True
    with serving(taker, max_in_flight=2) as server:
        clients = [Client(server.port) for _ in range(3)]
        for number, client in enumerate(clients[:2], 1):
            client.send(wire())
            wait_until(lambda number=number: len(taker.waiting) == number)  # type: ignore[misc]
        refused = Got(clients[2].send(wire()))
        assert server._loop is not None
        for answered in taker.waiting:
            server._loop.call_soon_threadsafe(answered, NotificationResult.PUBLISHED)
        statuses = [client.status() for client in clients[:2]]
        taker.held = False
        after = Got(clients[2].send(wire()))
        for client in clients:
            client.__exit__()

    assert (refused.status, refused.headers["retry-after"], taker.refused) == (503, "5", [503])
    assert (statuses, after.status) == ([204, 204], 204)


@pytest.mark.parametrize("whole", [True, False])
def test_a_request_cut_off_by_a_stop_is_told_to_come_again(whole: bool) -> None:
    taker = Taker()
    taker.held = True
    webhook = Webhook(EndpointSettings(path=PATH), taker)
    server = HttpServer(webhook, ServerOptions(host="127.0.0.1", port=0), name="ingest")
    with Client(server.start()) as client:
        client.send(wire() if whole else wire(b"{", headers={"Content-Length": "2"}, whole=False))
        wait_until(lambda: any(getattr(each, "_current", None) for each in server._registry.connections))
        server.stop(0.1)
        answer = Got(client)

        assert (answer.status, answer.headers["connection"], client.closed()) == (503, "close", True)


@pytest.fixture(scope="module")
def standing() -> Iterator[int]:
    """One door for all examples of a property."""

    def take(body: bytes, answered: NotificationAnswered) -> None:
        try:
            json.loads(body)
        except ValueError as error:
            raise InvalidNotification("body: not JSON") from error
        answered(NotificationResult.PUBLISHED)

    webhook = Webhook(EndpointSettings(path=PATH, authorization=(SECRET,)), take)
    server = HttpServer(webhook, ServerOptions(host="127.0.0.1", port=0), name="standing")
    yield server.start()
    server.stop(1)


#: What a header may hold (RFC 9110 section 5.5), or something else.
VALUES = st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode))


# A machine under load is no failure.
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(),
    authorization=st.one_of(st.just(SECRET), st.none(), VALUES),
    media_type=st.one_of(st.none(), st.just(b"application/json"), VALUES),
    query=st.binary(max_size=200),
)
def test_nothing_that_is_sent_is_ever_answered_500_or_echoed(
    standing: int, body: bytes, authorization: bytes | None, media_type: bytes | None, query: bytes
) -> None:
    fields = {
        b"Authorization": authorization,
        b"Content-Type": media_type,
        b"Content-Length": b"%d" % len(body),
    }
    lines = [b"%b: %b" % (name, value) for name, value in fields.items() if value is not None]
    first = b"POST %b?%b HTTP/1.1" % (PATH.encode(), query)
    with Client(standing) as client:
        client.send(b"\r\n".join([first, *lines, b"", body]))
        client.socket.shutdown(socket.SHUT_WR)
        answer = Got(client)

    # 0: what a header held has ended it before, and the client said that this was all.
    assert answer.status in {0, 204, 400, 401, 413, 415}
    assert answer.body in {
        b"",
        b'{"status": 400, "title": "Bad Request", "detail": "body: not JSON"}',
        b"Invalid HTTP request received.",
        b'{"status": 401, "title": "Unauthorized"}',
        b'{"status": 415, "title": "Unsupported Media Type"}',
        b'{"status": 413, "title": "Request Entity Too Large"}',
        b'{"status": 413, "title": "Content Too Large"}',
    }
