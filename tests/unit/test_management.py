"""RabbitMQ's management API: its responses and failures."""

from __future__ import annotations

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from bridge.adapters.management import read_members
from bridge.app import parts
from bridge.app.members import check_members, examine_members
from bridge.domain.queue_members import QueueMembers
from bridge.ops.examination import Level
from bridge.settings import Settings, load
from tests.harness.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NODES = "/api/nodes?columns=name"
QUEUES = "/api/queues/a%2Fb?columns=name,type,members,online"
#: Responses of RabbitMQ 3.10, shortened.
ANSWERS = {
    NODES: (200, [{"name": "r@n1"}, {"name": "r@n2"}]),
    QUEUES: (
        200,
        [
            {"name": "sms.send", "type": "quorum", "members": ["r@n1", "r@n2"], "online": ["r@n1"]},
            {"name": "others", "type": "quorum", "members": ["r@n1"], "online": ["r@n1"]},
            {"name": "sms.classic", "type": "classic"},
        ],
    ),
}


@contextmanager
def serving(answers: Mapping[str, tuple[int, object]], prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """Answer each path with a status and a document; yield the URL and the list of received credentials."""
    credentials: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            credentials.append(base64.b64decode(self.headers["Authorization"].partition(" ")[2]).decode())
            status, document = answers.get(self.path.removeprefix(prefix), (404, {}))
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://monitor:p%40ss@127.0.0.1:{server.server_port}{prefix}", credentials
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("prefix", ["", "/rabbit"])
def test_nodes_and_the_members_of_our_quorum_queues_are_read(prefix: str) -> None:
    with serving(ANSWERS, prefix) as (url, credentials):
        nodes, queues = read_members(url, "a/b", {"sms.send", "sms.classic", "missing"})

    assert nodes == {"r@n1", "r@n2"}
    assert queues == [
        QueueMembers(queue="sms.send", members=frozenset({"r@n1", "r@n2"}), online=frozenset({"r@n1"}))
    ]
    assert set(credentials) == {"monitor:p@ss"}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((401, {}), "401: give its user"),
        ((403, {}), "tag monitoring"),
        ((404, {}), "404 Not Found for /api/nodes"),
        ((200, b"<html>"), "is not JSON"),
        ((200, {"error": "x"}), "is not the management API's"),
        ((200, [1]), "is not the management API's"),
    ],
)
def test_unusable_response_gives_a_reason_without_the_password(
    answer: tuple[int, object], reason: str
) -> None:
    with serving({**ANSWERS, NODES: answer}) as (url, _), pytest.raises(ConnectionError, match=reason) as e:
        read_members(url, "a/b", {"sms.send"})

    assert "broker.management_url" in str(e.value)
    assert "p@ss" not in str(e.value)
    assert "p%40ss" not in str(e.value)


def settings_for(url: str) -> Settings:
    return load({"broker": {"url": "amqp://a/a%2Fb", "management_url": url}}, {}, lambda name: name)


def test_queues_missing_from_the_api_do_not_count_as_complete() -> None:
    with serving(ANSWERS | {QUEUES: (200, [])}) as (url, _):
        lines, not_deduplicated = check_members(settings_for(url))
        lookup_results = list(examine_members(settings_for(url)))

    assert lines == []
    assert not_deduplicated is not None
    assert "more queues: the management API shows no members: " in not_deduplicated
    assert [lookup_result.level for lookup_result in lookup_results] == [Level.WARN]
    assert "sms.dead, sms.send" in lookup_results[0].seen


def test_queues_without_enough_members_are_named_with_those_not_visible() -> None:
    with serving(ANSWERS) as (url, _):
        lines, not_deduplicated = check_members(settings_for(url))
        levels = [lookup_result.level for lookup_result in examine_members(settings_for(url))]

    assert lines == [
        "sms.send: the member on r@n2 is not online, so there is no majority: nothing can be published there or "
        "consumed from there: start RabbitMQ on r@n2"
    ]
    assert not_deduplicated is not None
    assert "sms.send" not in not_deduplicated
    assert levels == [Level.FAIL, Level.WARN]


def test_queues_with_all_members_are_healthy() -> None:
    names = parts.topology(settings_for("http://u:p@a")).all_queues
    whole = [{"name": name, "members": ["r@n1"], "online": ["r@n1"]} for name in names]
    with serving({NODES: (200, [{"name": "r@n1"}]), QUEUES: (200, whole)}) as (url, _):
        assert check_members(settings_for(url)) == ([], None)
        assert [lookup_result.level for lookup_result in examine_members(settings_for(url))] == [Level.OK]


def test_unavailable_api_is_reported() -> None:
    with pytest.raises(ConnectionError, match="Connection refused"):
        read_members(f"http://monitor:pass@127.0.0.1:{free_port()}", "/", {"sms.send"})
