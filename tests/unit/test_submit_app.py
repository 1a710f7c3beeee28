"""The door for commands, over real connections: who and what is let in, and what is answered."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import pytest
from structlog.testing import capture_logs

from bridge.adapters.http.idempotency import read_key
from bridge.adapters.http.server.options import ServerOptions
from bridge.adapters.http.server.server import HttpServer
from bridge.adapters.http.submit_app import Submit, SubmitEndpointSettings
from bridge.domain.contracts.commands import SUBMIT_PATH
from bridge.domain.errors import CommandInvalid, UnreadableCommand
from bridge.ports.serving import Fate, Operation, Unknown
from tests.harness.raw_http import Client
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.domain.messages import Handed
    from bridge.ports.serving import CommandAnswered, CommandShown

SECRET, OLD_SECRET = b"Bearer tangerine-4711", b"Bearer plum-0815"


class Behind:
    """Stands behind the door and remembers what came through."""

    def __init__(
        self, fate: Fate | Exception = Fate.QUEUED, found: bytes | Unknown | Exception = b"{}"
    ) -> None:
        self.fate = fate
        self.found = found
        self.taken: list[Handed] = []
        self.asked: list[str] = []
        self.refused: list[tuple[Operation, int]] = []
        #: Who waits for an answer while `held`.
        self.waiting: list[CommandAnswered] = []
        self.held = False
        #: What a command without a key is known by.
        self.id = "é/1"

    def take(self, handed: Handed, answered: CommandAnswered) -> None:
        self.taken.append(handed)
        if self.held:
            self.waiting.append(answered)
        elif isinstance(self.fate, (CommandInvalid, UnreadableCommand)):
            raise self.fate
        else:
            answered(handed.key or self.id, self.fate)

    def show(self, command_id: str, shown: CommandShown) -> None:
        self.asked.append(command_id)
        shown(self.found)

    def refuse(self, operation: Operation, status: int, client: str | None) -> None:
        assert client == "127.0.0.1"
        self.refused.append((operation, status))


@contextmanager
def serving(behind: Behind, **door: Any) -> Iterator[Client]:
    submit = Submit(
        SubmitEndpointSettings(**{"authorization": (SECRET,)} | door),
        behind.take,
        behind.show,
        refused=behind.refuse,
    )
    server = HttpServer(submit, ServerOptions(host="127.0.0.1", port=0), name="submit")
    with Client(server.start()) as client:
        yield client
    server.stop(1)


def wire(method: str = "POST", target: str = SUBMIT_PATH, body: bytes = b"{}", **headers: str) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost:8080"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if "Authorization" not in headers:
        lines.append(f"Authorization: {SECRET.decode()}")
    if method == "POST" and "Content_Type" not in headers:
        lines.append("Content-Type: application/json")
    if "Content_Length" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def ask(behind: Behind, data: bytes, **door: Any) -> tuple[int, Any, dict[str, str]]:
    """Send `data`; return the answer's status, what it says, and its headers."""
    with serving(behind, **door) as client:
        status = client.send(data).status()
        return status, json.loads(client.body or b"null"), client.headers


def test_a_queued_command_is_answered_with_its_id_and_where_to_ask_for_it() -> None:
    behind = Behind()
    status, said, headers = ask(behind, wire(body=b'{"id":"x"}', traceparent="00-1"))

    assert (status, said) == (202, {"id": "é/1"})
    assert headers["location"] == f"{SUBMIT_PATH}/%C3%A9%2F1"
    assert [(one.body, one.key, one.traceparent) for one in behind.taken] == [(b'{"id":"x"}', None, "00-1")]
    assert behind.refused == []


@pytest.mark.parametrize(
    "id_",
    [
        "a/b",
        "/",
        "a/../b",
        "..a",
        "%2e%2e",
        "%",
        "?",
        "#",
        "a?b#c",
        ";",
        "\\",
        " a ",
        "é/\U0001f600",
        "+",
        "...",
    ],
)
def test_a_client_that_follows_where_to_ask_asks_for_the_same_command(id_: str) -> None:
    behind = Behind()
    behind.id = id_
    with serving(behind) as client:
        client.send(wire()).status()
        # As clients do: resolved against the URL that was posted to (RFC 3986 section 5.2).
        target = urlsplit(urljoin(f"http://localhost:8080{SUBMIT_PATH}", client.headers["location"]))
        client.send(wire("GET", target.path)).status()

    assert (target.query, target.fragment, behind.asked) == ("", "", [id_])


@pytest.mark.parametrize(
    ("types", "status"),
    [
        (["application/json", "application/json"], 202),
        (["application/json", "Application/JSON "], 202),
        (["application/json; charset=utf-8", "application/json; charset=utf-8"], 202),
        (["application/json, application/json"], 202),
        (['application/json; note="a,b"'], 202),
        (["application/json", "text/plain"], 415),
        (["application/json; charset=utf-8", "text/plain"], 415),
        (["text/plain", "text/plain"], 415),
    ],
)
def test_a_content_type_that_comes_twice_is_one_where_both_say_the_same(
    types: list[str], status: int
) -> None:
    lines = "".join(f"\r\nContent-Type: {one}" for one in types).encode()

    assert ask(Behind(), wire().replace(b"\r\nContent-Type: application/json", lines))[0] == status


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("order-17", "order-17"),
        ('"order-17"', "order-17"),
        (' "a, b" ', "a, b"),
        (r'"say \"hi\" \\"', r'say "hi" \\'.replace("\\\\", "\\")),
        ("8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        ("x" * 128, "x" * 128),
        ("x" * 129, None),
        (f'"{"x" * 129}"', None),
        ('""', None),
        ("", None),
        ('"open', None),
        (r'"\n"', None),
        ('"a","b"', None),
        ("a,b", None),
        ("a b", None),
        ('"a";p=1', None),
        ("caf\xe9", None),
        ('"caf\xe9"', None),
        ("?1", "?1"),
        ("17", "17"),
    ],
)
def test_a_key_is_read_with_quotes_and_without(header: str, key: str | None) -> None:
    assert read_key(header.encode("latin-1")) == key


@pytest.mark.parametrize("header", ['"a","b"', "caf\xe9", ""])
def test_a_key_that_is_none_is_refused_before_the_command_is_read(header: str) -> None:
    behind = Behind()
    status, said, _ = ask(behind, wire(Idempotency_Key=header))

    assert (status, behind.taken, behind.refused) == (400, [], [(Operation.SUBMIT, 400)])
    assert "Idempotency-Key" in said["detail"]


def test_a_key_that_comes_twice_is_none() -> None:
    data = wire(Idempotency_Key="a").replace(b"Host", b"Idempotency-Key: b\r\nHost")

    assert ask(Behind(), data)[0] == 400


@pytest.mark.parametrize(
    ("fate", "status", "word"),
    [
        (Fate.CONFLICTING, 409, "other content"),
        (Fate.UNROUTABLE, 503, "no queue"),
        (Fate.UNCONFIRMED, 503, "may be on the queue or not"),
        (Fate.AWAY, 503, "takes no commands now"),
    ],
)
def test_what_is_not_on_the_queue_is_answered_with_the_reason_and_when_to_come_again(
    fate: Fate, status: int, word: str
) -> None:
    answered, said, headers = ask(Behind(fate), wire())

    assert (answered, said["status"]) == (status, status)
    assert word in said["detail"]
    assert ("retry-after" in headers) == (status == 503)
    assert ("again with the same id" in said["detail"]) == (status == 503)


def test_what_is_not_valid_is_answered_with_a_pointer_to_each_field() -> None:
    reasons = ("message is missing", "destination_address[3] is not a string", "metadata is not an object")
    status, said, headers = ask(Behind(CommandInvalid(*reasons)), wire())

    assert (status, headers["content-type"]) == (422, "application/problem+json")
    assert said["errors"] == [
        {"pointer": "#/message", "detail": reasons[0]},
        {"pointer": "#/destination_address/3", "detail": reasons[1]},
        {"pointer": "#/metadata", "detail": reasons[2]},
    ]


def test_what_is_not_readable_is_answered_with_why() -> None:
    status, said, _ = ask(Behind(UnreadableCommand("the body is not UTF-8")), wire())

    assert (status, said["detail"]) == (400, "the body is not UTF-8")


def test_a_mistake_of_ours_is_answered_500_and_tells_nothing() -> None:
    with capture_logs() as lines:
        status, said, _ = ask(Behind(KeyError("+16135550123")), wire())

    assert (status, said) == (500, {"status": 500, "title": "Internal Server Error"})
    assert "16135550123" not in str(lines)


@pytest.mark.parametrize(
    ("data", "operation", "status"),
    [
        (wire(target="/"), Operation.NONE, 404),
        (wire(target="/v1/messagesx"), Operation.NONE, 404),
        (wire("GET", f"{SUBMIT_PATH}/"), Operation.NONE, 404),
        (wire("GET"), Operation.NONE, 405),
        (wire("PUT"), Operation.NONE, 405),
        (wire(target=f"{SUBMIT_PATH}/a"), Operation.NONE, 405),
        (wire("DELETE", f"{SUBMIT_PATH}/a"), Operation.NONE, 405),
        (wire(Content_Length="262145"), Operation.SUBMIT, 413),
        (wire(Content_Type="text/plain"), Operation.SUBMIT, 415),
        (wire(Content_Type="application/x-www-form-urlencoded"), Operation.SUBMIT, 415),
        (wire(Content_Encoding="gzip"), Operation.SUBMIT, 415),
        (wire("GET", f"{SUBMIT_PATH}/a", Content_Length="262145"), Operation.SHOW, 413),
    ],
)
def test_what_the_head_refuses_is_not_taken(data: bytes, operation: Operation, status: int) -> None:
    behind = Behind()

    assert ask(behind, data)[0] == status
    assert behind.refused == [(operation, status)]
    assert (behind.taken, behind.asked) == ([], [])


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "Application/JSON", "application/x+json"]
)
def test_json_is_let_in_by_whatever_name(media_type: str) -> None:
    assert ask(Behind(), wire(Content_Type=media_type))[0] == 202


def test_what_any_page_in_a_browser_can_post_is_not_taken() -> None:
    behind = Behind()
    data = wire().replace(b"Content-Type: application/json\r\n", b"")

    assert ask(behind, data)[0] == 415
    assert behind.taken == []


@pytest.mark.parametrize(
    ("method", "target"), [("POST", SUBMIT_PATH), ("GET", f"{SUBMIT_PATH}/a"), ("HEAD", f"{SUBMIT_PATH}/a")]
)
def test_nobody_is_let_in_without_an_authorization_that_is_good_now(method: str, target: str) -> None:
    behind = Behind()
    statuses = []
    for given in (SECRET, OLD_SECRET, b"Bearer wrong", b"", SECRET + b"," + OLD_SECRET):
        sent = wire(method, target, Authorization=given.decode())
        with serving(behind, authorization=(SECRET, OLD_SECRET)) as client:
            statuses.append(client.send(sent).status(head=True))

    assert [status // 100 for status in statuses] == [2, 2, 4, 4, 4]
    assert {status for status in statuses if status >= 400} == {401}


@pytest.mark.parametrize("authorization", [(), (b"",), (SECRET, b"")])
def test_no_or_an_empty_authorization_is_refused_since_it_would_let_in_everybody(
    authorization: tuple[bytes, ...],
) -> None:
    with pytest.raises(ValueError, match="whoever sends none"):
        SubmitEndpointSettings(authorization=authorization)


def test_a_body_that_is_late_or_too_large_is_not_taken() -> None:
    behind = Behind()
    late = ask(behind, wire(Content_Length="9"), body_timeout=0.05)
    chunked = wire(body=b"", Transfer_Encoding="chunked").replace(b"Content-Length: 0\r\n", b"")
    large = ask(behind, chunked + b"9\r\n123456789\r\n", max_body=8)

    assert (late[0], large[0]) == (408, 413)
    assert behind.refused == [(Operation.SUBMIT, 408), (Operation.SUBMIT, 413)]
    assert behind.taken == []


def test_more_than_may_wait_are_asked_to_come_again() -> None:
    behind = Behind()
    behind.held = True
    submit = Submit(
        SubmitEndpointSettings(authorization=(SECRET,), max_in_flight=1),
        behind.take,
        behind.show,
        refused=behind.refuse,
    )
    server = HttpServer(submit, ServerOptions(host="127.0.0.1", port=0), name="submit")
    port = server.start()
    with Client(port) as first, Client(port) as second:
        first.send(wire() + wire("GET", f"{SUBMIT_PATH}/a"))
        wait_until(lambda: behind.waiting, what="the first command")
        busy = second.send(wire()).status()

        async def answer() -> None:
            behind.waiting[0]("a", Fate.QUEUED)

        server.call(answer, 5)
        statuses = [first.status(), first.status()]
        behind.held = False
        after = second.send(wire()).status()
    server.stop(1)

    assert (busy, second.headers.get("retry-after")) == (503, None)
    assert (statuses, after) == ([202, 200], 202)
    assert behind.refused == [(Operation.SUBMIT, 503)]


def test_what_is_known_of_a_command_is_shown_and_not_kept_by_caches() -> None:
    behind = Behind(found=b'{"id":"a/b?"}')
    status, said, headers = ask(behind, wire("GET", f"{SUBMIT_PATH}/a%2Fb%3F?x=1", b""))

    assert (status, said, headers["cache-control"]) == (200, {"id": "a/b?"}, "no-store")
    assert behind.asked == ["a/b?"]


@pytest.mark.parametrize(
    ("found", "status", "word"),
    [
        (Unknown.UNKNOWN, 404, "may still wait on the queue"),
        (Unknown.AWAY, 503, "can't be asked now"),
        (KeyError("x"), 500, None),
    ],
)
def test_what_cannot_be_shown_is_answered_with_why(
    found: Unknown | Exception, status: int, word: str | None
) -> None:
    answered, said, headers = ask(Behind(found=found), wire("GET", f"{SUBMIT_PATH}/a", b""))

    assert (answered, said["status"]) == (status, status)
    assert word is None or word in said["detail"]
    assert ("retry-after" in headers) == (status == 503)
