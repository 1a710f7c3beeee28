from __future__ import annotations

import asyncio
import json
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest
from falcon.testing import TestClient
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters.http.ingest_app import Door, Taken, make_ingest_app
from bridge.core.errors import InvalidNotification

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH = "/inbound-sms/webhook"
BODY = b'{"inboundSMSMessageNotification":{}}'
SECRET, OLD_SECRET = b"Bearer tangerine-4711", b"Bearer plum-0815"


class Taker:
    """Stands behind the door and remembers what came through."""

    def __init__(self, *, result: Taken | Exception = Taken.DURABLE) -> None:
        self.result = result
        self.taken: list[bytes] = []
        self.refused: list[int] = []
        self.clients: list[str | None] = []

    def refuse(self, status: int, client: str | None) -> None:
        self.refused.append(status)
        self.clients.append(client)

    async def __call__(self, body: bytes) -> Taken:
        self.taken.append(body)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def client(taker: Taker, **door: Any) -> TestClient:
    app = make_ingest_app(Door(path=PATH, **door), taker, refused=taker.refuse)
    return TestClient(app)


def post(taker: Taker, body: bytes = BODY, *, headers: Mapping[str, str] | None = None, **door: Any) -> Any:
    return client(taker, **door).simulate_post(PATH, body=body, headers=headers)


def test_a_durable_notification_is_answered_204_without_a_body() -> None:
    taker = Taker()

    answer = post(taker)

    assert (answer.status_code, answer.content) == (204, b"")
    assert taker.taken == [BODY]
    assert taker.refused == []


def test_what_could_not_be_made_durable_is_asked_for_again() -> None:
    answer = post(Taker(result=Taken.NOT_NOW), retry_after=7)

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "7"


def test_what_is_no_notification_is_answered_400_with_the_reason() -> None:
    answer = post(Taker(result=InvalidNotification("body: not a JSON object")))

    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json == {"status": 400, "title": "Bad Request", "detail": "body: not a JSON object"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("path", [PATH, "/elsewhere"])
def test_only_post_is_allowed(method: str, path: str) -> None:
    taker = Taker()

    answer = client(taker).simulate_request(method, path)

    assert answer.status_code == 405
    assert answer.headers["Allow"] == "POST"
    assert taker.refused == [405]


@pytest.mark.parametrize(
    "path", ["/", PATH + "/", PATH + "x", "/inbound-sms", "/INBOUND-SMS/WEBHOOK", "/livez"]
)
def test_any_other_path_is_not_found(path: str) -> None:
    taker = Taker()

    answer = client(taker, authorization=(SECRET,)).simulate_post(path, body=BODY)

    assert answer.status_code == 404
    assert taker.taken == []


def test_a_query_is_not_looked_at() -> None:
    answer = client(Taker()).simulate_post(PATH, body=BODY, query_string="a=b&%ff")

    assert answer.status_code == 204


def test_the_largest_body_is_taken_and_one_byte_more_is_not() -> None:
    taker = Taker()

    answers = [post(taker, b" " * size).status_code for size in (64 * 1024, 64 * 1024 + 1)]

    assert answers == [204, 413]
    assert [len(body) for body in taker.taken] == [64 * 1024]


def test_a_declared_length_over_the_limit_is_refused_before_authorization_is_looked_at() -> None:
    answer = post(Taker(), b" " * 20, authorization=(SECRET,), max_body=10)

    assert answer.status_code == 413


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
        ("x" * 100_000, 401),
        ("Bearer tangerine-4711,Bearer plum-0815", 401),
        ("Bearer tangerine-4711", 204),
        ("Bearer plum-0815", 204),
    ],
)
def test_only_a_configured_authorization_opens(given: str | None, status: int) -> None:
    taker = Taker()
    headers = {} if given is None else {"Authorization": given}

    answer = post(taker, headers=headers, authorization=(SECRET, OLD_SECRET))

    assert answer.status_code == status
    assert len(taker.taken) == (status == 204)


def test_refusals_of_authorization_look_alike_whatever_was_sent() -> None:
    answers = [
        post(Taker(), body, headers=headers, authorization=(SECRET,))
        for body in (BODY, b"", b"no json")
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "\u00ff" * 5000})
    ]

    assert {answer.content for answer in answers} == {b'{"status": 401, "title": "Unauthorized"}'}
    assert {answer.headers["WWW-Authenticate"] for answer in answers} == {"Bearer"}


PROVIDER = (ip_network("198.51.100.0/24"), ip_network("2001:db8::/32"))
PROXIES = (ip_network("10.0.0.0/8"),)


@pytest.mark.parametrize(
    ("peer", "forwarded", "status", "client"),
    [
        ("198.51.100.7", None, 204, None),
        ("2001:db8::7", None, 204, None),
        ("203.0.113.7", None, 403, "203.0.113.7"),
        ("203.0.113.7", b"198.51.100.7", 403, "203.0.113.7"),
        ("10.0.0.1", b"198.51.100.7", 204, None),
        ("10.0.0.1", b"198.51.100.7, 203.0.113.7", 403, "203.0.113.7"),
        ("10.0.0.1", b"198.51.100.7, x\r\nx", 403, None),
        ("10.0.0.1", None, 403, "10.0.0.1"),
        (None, b"198.51.100.7", 403, None),
    ],
)
def test_with_allowed_networks_only_clients_of_theirs_come_in(
    peer: str | None, forwarded: bytes | None, status: int, client: str | None
) -> None:
    connection, taker = Connection(piece(BODY, more=False)), Taker()
    headers = [] if forwarded is None else [(b"x-forwarded-for", forwarded)]
    head = scope(client=None if peer is None else (peer, 50001), headers=headers)

    answered = asyncio.run(serve(connection, taker, head, allow=PROVIDER, trusted_proxies=PROXIES))

    assert (answered, taker.clients) == (status, [] if status == 204 else [client])


def test_what_several_proxies_wrote_into_headers_of_their_own_counts_in_its_order() -> None:
    headers = [(b"x-forwarded-for", b"203.0.113.7"), (b"x-forwarded-for", b"198.51.100.7, 10.0.0.2")]
    head = scope(client=("10.0.0.1", 50001), headers=headers)
    connection = Connection(piece(BODY, more=False))

    assert asyncio.run(serve(connection, Taker(), head, allow=PROVIDER, trusted_proxies=PROXIES)) == 204


def test_a_stranger_learns_nothing_of_authorization_and_whatever_is_refused_has_its_client_told() -> None:
    taker = Taker()
    heads = [
        scope(headers=[(b"authorization", SECRET)]),
        scope(headers=[(b"content-length", b"65537")]),
        scope(client=("198.51.100.7", 50001)),
    ]
    door = {"allow": PROVIDER, "authorization": (SECRET,)}

    statuses = [asyncio.run(serve(Connection(), taker, head, **door)) for head in heads]

    assert statuses == taker.refused == [403, 403, 401]
    assert taker.clients == ["203.0.113.7", "203.0.113.7", "198.51.100.7"]


def test_without_a_configured_authorization_anybody_may_come_in() -> None:
    assert post(Taker(), headers={"Authorization": "Bearer whatever"}).status_code == 204


def test_an_empty_authorization_is_refused_at_once_for_it_would_let_in_whoever_sends_none() -> None:
    with pytest.raises(ValueError, match="empty authorization"):
        Door(path=PATH, authorization=(SECRET, b""))


def test_a_door_does_not_show_its_secrets() -> None:
    assert "tangerine" not in repr(Door(path=PATH, authorization=(SECRET,)))


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

    assert post(Taker(), headers=headers).status_code == status


def test_what_breaks_behind_the_door_is_answered_500_and_told_nobody() -> None:
    answer = post(Taker(result=RuntimeError("+16131234567 broke it")))

    assert answer.status_code == 500
    assert answer.json == {"status": 500, "title": "Internal Server Error"}


def scope(**changes: Any) -> dict[str, Any]:
    standard = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "path": PATH,
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "client": ("203.0.113.7", 50001),
    }
    return standard | changes


class Connection:
    """The server's side of one request, piece by piece."""

    def __init__(self, *pieces: dict[str, Any]) -> None:
        self.pieces = list(pieces)
        self.asked = 0
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        self.asked += 1
        if not self.pieces:
            await asyncio.Event().wait()
        return self.pieces.pop(0)

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])


def piece(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def serve(connection: Connection, taker: Taker, head: dict[str, Any] | None = None, **door: Any) -> int:
    app = make_ingest_app(Door(path=PATH, **door), taker, refused=taker.refuse)
    await asyncio.wait_for(app(head or scope(), connection.receive, connection.send), 5)
    return connection.status


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (scope(method="GET"), 405),
        (scope(path="/elsewhere"), 404),
        (scope(client=("203.0.114.7", 50001)), 403),
        (scope(headers=[(b"content-length", b"65537")]), 413),
        (scope(headers=[(b"authorization", b"\xff\x00")]), 401),
        (scope(headers=[(b"authorization", SECRET), (b"content-type", b"text/plain")]), 415),
    ],
)
def test_nothing_of_a_body_is_asked_for_where_the_headers_refuse(head: dict[str, Any], status: int) -> None:
    connection, taker = Connection(), Taker()

    door = {"authorization": (SECRET,), "allow": (ip_network("203.0.113.0/24"),)}
    answered = asyncio.run(serve(connection, taker, head, **door))

    assert (answered, connection.asked, taker.refused) == (status, 0, [status])


def test_a_body_in_pieces_arrives_whole() -> None:
    connection, taker = Connection(piece(b'{"a":'), piece(b""), piece(b"{}}", more=False)), Taker()

    assert asyncio.run(serve(connection, taker)) == 204
    assert taker.taken == [b'{"a":{}}']


def test_a_body_of_unknown_length_is_counted_as_it_comes_and_the_rest_not_waited_for() -> None:
    connection, taker = Connection(piece(b"x" * 6), piece(b"x" * 5), piece(b"x")), Taker()

    assert asyncio.run(serve(connection, taker, max_body=10)) == 413
    assert len(connection.pieces) == 1
    assert taker.taken == []


def test_a_body_that_does_not_come_in_time_is_given_up() -> None:
    connection, taker = Connection(piece(b"{")), Taker()

    assert asyncio.run(serve(connection, taker, body_timeout=0.02)) == 408
    assert taker.refused == [408]


def test_half_a_body_of_a_client_that_is_gone_is_not_taken_for_a_whole_one() -> None:
    connection, taker = Connection(piece(b'{"a":{}}'), {"type": "http.disconnect"}), Taker()

    asyncio.run(serve(connection, taker))

    assert taker.taken == []


def test_more_notifications_than_fit_are_refused_at_once_and_there_is_room_again_after() -> None:
    async def scenario() -> tuple[list[int], int]:
        release = asyncio.Event()

        async def take(body: bytes) -> Taken:
            await release.wait()
            return Taken.DURABLE

        app = make_ingest_app(Door(path=PATH, max_in_flight=2), take)
        connections = [Connection(piece(BODY, more=False)) for _ in range(4)]
        calls = [asyncio.create_task(app(scope(), each.receive, each.send)) for each in connections[:3]]
        await asyncio.wait(calls, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        early = [each.done() for each in calls]
        release.set()
        await asyncio.wait_for(asyncio.gather(*calls), 5)
        await app(scope(), connections[3].receive, connections[3].send)

        assert early == [False, False, True]
        return [each.status for each in connections[:3]], connections[3].status

    statuses, after = asyncio.run(scenario())

    assert statuses == [204, 204, 503]
    assert after == 204


def test_a_request_cut_off_by_a_stop_is_told_to_come_again() -> None:
    async def scenario() -> int:
        connection = Connection(piece(b"{"))
        app = make_ingest_app(Door(path=PATH), Taker())
        call = asyncio.create_task(app(scope(), connection.receive, connection.send))
        while not connection.asked or connection.pieces:
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait_for(call, 5)
        return connection.status

    assert asyncio.run(scenario()) == 503


@given(
    body=st.binary(),
    authorization=st.one_of(st.just(SECRET), st.none(), st.binary()),
    media_type=st.one_of(st.none(), st.just(b"application/json"), st.binary()),
    query=st.binary(),
)
def test_nothing_that_is_sent_is_ever_answered_500_or_echoed(
    body: bytes, authorization: bytes | None, media_type: bytes | None, query: bytes
) -> None:
    async def take(body: bytes) -> Taken:
        try:
            json.loads(body)
        except ValueError as error:
            raise InvalidNotification("body: not JSON") from error
        return Taken.DURABLE

    headers = [(b"authorization", authorization), (b"content-type", media_type)]
    head = scope(headers=[(name, value) for name, value in headers if value is not None], query_string=query)
    connection = Connection(piece(body, more=False))
    app = make_ingest_app(Door(path=PATH, authorization=(SECRET,)), take)

    asyncio.run(app(head, connection.receive, connection.send))

    assert connection.status in {204, 400, 401, 415}
    # A 204 has none.
    assert connection.sent[1].get("body", b"") in {
        b"",
        b'{"status": 400, "title": "Bad Request", "detail": "body: not JSON"}',
        b'{"status": 401, "title": "Unauthorized"}',
        b'{"status": 415, "title": "Unsupported Media Type"}',
    }
