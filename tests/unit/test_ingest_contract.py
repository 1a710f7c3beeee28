"""docs/contracts/ingest.openapi.json says what the door does: each status that is in it can be had, and no other."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bridge.adapters.http import ingest_app
from bridge.adapters.http.ingest_app import EndpointSettings, Webhook
from bridge.adapters.http.server import connection, parser, registry
from bridge.adapters.http.server.options import ServerOptions
from bridge.adapters.http.server.response import Response
from bridge.adapters.http.server.server import HttpServer
from bridge.domain import notifications, strict_json
from bridge.domain.errors import InvalidNotification
from bridge.ports.serving import NotificationResult
from bridge.settings import Settings
from tests.harness.raw_http import PATIENCE, Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.ports.serving import NotificationAnswered

CONTRACT = json.loads(
    (Path(__file__).parents[2] / "docs" / "contracts" / "ingest.openapi.json").read_text(encoding="utf-8")
)
SETTINGS = Settings().ingest
PATH = SETTINGS.path
POST: dict[str, Any] = CONTRACT["paths"][PATH]["post"]
RESPONSES: dict[str, dict[str, Any]] = POST["responses"]
SCHEMAS: dict[str, Any] = CONTRACT["components"]["schemas"]
SECRET = b"Bearer tangerine-4711"


def request(*headers: bytes, body: bytes = b'{"a":{}}', authorization: bytes = SECRET) -> bytes:
    lines = [b"POST " + PATH.encode() + b" HTTP/1.1", b"Host: bridge", b"Authorization: " + authorization]
    if not any(each.startswith(b"Content-Length") for each in headers):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, *headers, b"", body])


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What has a status answered."""

    sent: bytes = request()
    taken: NotificationResult | Exception = NotificationResult.PUBLISHED
    door: dict[str, Any] = field(default_factory=dict)
    bind: dict[str, Any] = field(default_factory=dict)


WAYS: list[tuple[str, Way]] = [
    ("204", Way()),
    ("400", Way(taken=InvalidNotification("body is not UTF-8"))),
    ("400", Way(sent=b"rubbish\r\n\r\n")),
    ("401", Way(sent=request(authorization=b"Bearer wrong"))),
    ("403", Way(door={"allow": (ip_network("203.0.113.0/24"),)})),
    ("408", Way(sent=request(b"Content-Length: 9"), door={"body_timeout": 0.05})),
    ("413", Way(sent=request(b"Content-Length: 65537"))),
    ("415", Way(sent=request(b"Content-Type: text/plain"))),
    ("431", Way(sent=request(b"X: " + b"x" * parser.MAX_HEAD))),
    ("503", Way(taken=NotificationResult.REFUSED)),
    ("503", Way(door={"max_in_flight": 0})),
    ("503", Way(bind={"max_connections": 0})),
]


@contextmanager
def served(way: Way) -> Iterator[Client]:
    def take(_: bytes, answered: NotificationAnswered) -> None:
        answered(way.taken)

    webhook = Webhook(EndpointSettings(path=PATH, authorization=(SECRET,), **way.door), take)
    server = HttpServer(webhook, ServerOptions(host="127.0.0.1", port=0, **way.bind), name="contract")
    with Client(server.start(), patience=PATIENCE) as client:
        yield client.send(way.sent)
    server.stop(1)


@pytest.mark.parametrize(("status", "way"), WAYS, ids=[status for status, _ in WAYS])
def test_a_documented_status_is_answered_as_documented(status: str, way: Way) -> None:
    with served(way) as client:
        answered = client.status()
    documented = RESPONSES[status]
    media_type, _, _ = client.headers.get("content-type", "").partition(";")
    required = [
        name.lower() for name, header in documented.get("headers", {}).items() if header.get("required")
    ]

    assert str(answered) == status
    assert (media_type in documented.get("content", {})) if client.body else "content" not in documented
    assert set(required) <= set(client.headers)
    if media_type == "application/problem+json":
        problem, schema = json.loads(client.body), SCHEMAS["Problem"]
        assert set(schema["required"]) <= set(problem) <= set(schema["properties"])
        assert problem["status"] == answered


def test_every_documented_status_is_answered_in_a_test_and_every_answer_is_documented() -> None:
    rooms = (connection, registry, ingest_app)
    answers = {
        str(value.status) for room in rooms for value in vars(room).values() if isinstance(value, Response)
    }

    assert set(RESPONSES) == {status for status, _ in WAYS}
    # No operation has these: they are about another path, and about another method.
    assert answers - {"404", "405"} <= set(RESPONSES)


def test_the_documented_bounds_are_those_in_force() -> None:
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


def test_the_secret_is_documented_as_the_header_that_is_compared() -> None:
    (name,) = CONTRACT["security"][0]
    scheme = CONTRACT["components"]["securitySchemes"][name]

    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "Authorization")
