"""docs/contracts/submit.openapi.json says what the door for commands does: each status can be had, and no other."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from bridge.adapters.http import submit_answers, submit_app
from bridge.adapters.http.idempotency import read_key
from bridge.adapters.http.server import connection, parser, registry
from bridge.adapters.http.server.options import ServerOptions
from bridge.adapters.http.server.response import Response
from bridge.adapters.http.server.server import HttpServer
from bridge.adapters.http.submit_app import Submit, SubmitEndpointSettings
from bridge.app.contract import examples
from bridge.domain.contracts.commands import SUBMIT_PATH, command_schema
from bridge.domain.errors import CommandInvalid, UnreadableCommand
from bridge.domain.ledger import CommandRecord, SubmissionRecord, Told
from bridge.domain.outcomes import Outcome
from bridge.domain.shown_commands import to_senders
from bridge.ops.metrics import SUBMITS
from bridge.ports.serving import Fate, Unknown
from tests.harness.contract_documents import CAMEL_CASE, NAMES, PAPERS
from tests.harness.raw_http import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.domain.messages import Handed
    from bridge.ports.serving import CommandAnswered, CommandShown

FILES = [PAPERS / "submit.openapi.json", PAPERS / CAMEL_CASE / "submit.openapi.json"]
CONTRACTS: list[dict[str, Any]] = [json.loads(path.read_text(encoding="utf-8")) for path in FILES]
CONTRACT = CONTRACTS[0]
OPERATIONS = {
    "submit": CONTRACT["paths"][SUBMIT_PATH]["post"],
    "show": CONTRACT["paths"][f"{SUBMIT_PATH}/{{id}}"]["get"],
}
SCHEMAS: dict[str, Any] = CONTRACT["components"]["schemas"]
SECRET = b"Bearer tangerine-4711"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What has a status answered."""

    headers: tuple[bytes, ...] = ()
    body: bytes = b'{"message": "hi"}'
    #: Sent instead of a request.
    raw: bytes = b""
    fate: Fate | Exception = Fate.QUEUED
    found: bytes | Unknown = b"{}"
    authorization: bytes = SECRET
    door: dict[str, Any] = field(default_factory=dict)
    bind: dict[str, Any] = field(default_factory=dict)

    def sent(self, operation: str) -> bytes:
        """Return a whole request, or what comes in its place."""
        line = b"POST %b HTTP/1.1" if operation == "submit" else b"GET %b/a HTTP/1.1"
        body = self.body if operation == "submit" else b""
        lines = [line % SUBMIT_PATH.encode(), b"Host: bridge", b"Authorization: " + self.authorization]
        own = {b"Content-Length": b"%d" % len(body), b"Content-Type": b"application/json"}
        given = {header.partition(b":")[0] for header in self.headers}
        lines += [b"%b: %b" % field for field in own.items() if field[0] not in given]
        return self.raw or b"\r\n".join([*lines, *self.headers, b"", body])


COMMON = [
    ("400", Way(raw=b"rubbish\r\n\r\n")),
    ("401", Way(authorization=b"Bearer wrong")),
    ("408", Way(headers=(b"Content-Length: 99",), door={"body_timeout": 0.05})),
    ("413", Way(headers=(b"Content-Length: 262145",))),
    ("431", Way(headers=(b"X: " + b"x" * parser.MAX_HEAD,))),
    ("503", Way(bind={"max_connections": 0})),
]
WAYS: list[tuple[str, str, Way]] = [
    *(("submit", status, way) for status, way in COMMON),
    ("submit", "202", Way()),
    ("submit", "400", Way(headers=(b"Idempotency-Key: a,b",))),
    ("submit", "400", Way(fate=UnreadableCommand("the body is not UTF-8"))),
    ("submit", "409", Way(fate=Fate.CONFLICTING)),
    ("submit", "415", Way(headers=(b"Content-Type: text/plain",))),
    ("submit", "422", Way(fate=CommandInvalid("message is missing", "destination_address[1] is odd"))),
    ("submit", "503", Way(fate=Fate.UNROUTABLE)),
    ("submit", "503", Way(fate=Fate.UNCONFIRMED)),
    ("submit", "503", Way(fate=Fate.AWAY)),
    ("submit", "503", Way(door={"max_in_flight": 0})),
    *(("show", status, way) for status, way in COMMON),
    ("show", "200", Way()),
    ("show", "404", Way(found=Unknown.UNKNOWN)),
    ("show", "503", Way(found=Unknown.AWAY)),
]


@contextmanager
def served(operation: str, way: Way) -> Iterator[Client]:
    def take(_: Handed, answered: CommandAnswered) -> None:
        if isinstance(way.fate, Exception):
            raise way.fate
        answered("order-17", way.fate)

    def show(_: str, shown: CommandShown) -> None:
        shown(way.found)

    door = SubmitEndpointSettings(authorization=(SECRET,), **way.door)
    submit = Submit(door, take, show, refused=lambda _operation, _status, _client: None)
    server = HttpServer(submit, ServerOptions(host="127.0.0.1", port=0, **way.bind), name="contract")
    with Client(server.start()) as client:
        yield client.send(way.sent(operation))
    server.stop(1)


def check(value: Any, schema: dict[str, Any], contract: dict[str, Any] = CONTRACT) -> None:
    """Hold a value against one of the contract's schemas."""
    whole = {**schema, "components": contract["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_the_document_is_openapi_by_a_validator_that_is_not_ours(path: Any) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))

    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_that_validator_finds_what_is_wrong() -> None:
    document = json.loads(FILES[0].read_text(encoding="utf-8"))
    del document["paths"][SUBMIT_PATH]["post"]["responses"]["202"]["description"]

    assert list(OpenAPIV31SpecValidator(document).iter_errors())


@pytest.mark.parametrize(
    ("operation", "status", "way"), WAYS, ids=[f"{operation}-{status}" for operation, status, _ in WAYS]
)
def test_a_documented_status_is_answered_as_documented(operation: str, status: str, way: Way) -> None:
    with served(operation, way) as client:
        answered = client.status()
    documented = OPERATIONS[operation]["responses"][status]
    content = documented.get("content", {})
    media_type, _, _ = client.headers.get("content-type", "").partition(";")

    assert str(answered) == status
    assert (media_type in content) if client.body else not content
    for name, header in documented.get("headers", {}).items():
        check(client.headers[name.lower()], header["schema"])
    if media_type == "application/problem+json" or status == "202":
        check(json.loads(client.body), content[media_type]["schema"])


def test_every_documented_status_is_answered_in_a_test_and_every_answer_is_documented() -> None:
    documented = {
        (name, status) for name, operation in OPERATIONS.items() for status in operation["responses"]
    }
    answers = {
        str(value.status)
        for room in (connection, registry, submit_answers, submit_app)
        for value in vars(room).values()
        if isinstance(value, Response)
    }

    assert documented == {(operation, status) for operation, status, _ in WAYS}
    # A head that is too large names no operation.
    counted = {(operation, str(status)) for operation, status in SUBMITS}
    assert counted == {one for one in documented if one[1] != "431"} | {("none", "404"), ("none", "405")}
    # No operation has this one: it is about another method.
    assert answers - {"405"} <= {status for _, status in documented}


def test_the_documented_bounds_are_those_in_force() -> None:
    said = OPERATIONS["submit"]["requestBody"]["description"]

    assert f"At most {SubmitEndpointSettings(authorization=(SECRET,)).max_body // 1024} KiB" in said
    assert f"within {SubmitEndpointSettings(authorization=(SECRET,)).body_timeout:g} s" in said
    for operation in OPERATIONS.values():
        assert f"over {parser.MAX_HEAD // 1024} KiB" in operation["responses"]["431"]["description"]


@pytest.mark.parametrize("contract", CONTRACTS, ids=["snake_case", "camelCase"])
def test_what_is_shown_of_a_command_is_as_documented(contract: dict[str, Any]) -> None:
    schema = contract["components"]["schemas"]["State"]
    camel_case = contract is not CONTRACT
    events = examples(NAMES, camel_case=camel_case)
    ended = {
        index: SubmissionRecord(
            index=index,
            state=outcome.value,
            attempts=1,
            first_attempt_at=1.8e9,
            told=Told(event_id="", body=json.dumps(events[outcome.event_type]).encode()),
        )
        for index, outcome in enumerate(Outcome)
    }
    open_ones = {
        len(ended) + index: SubmissionRecord(index=len(ended) + index, state=state, retry_at=1.8e9)
        for index, state in enumerate(("waiting", "attempting", "doubtful"))
    }
    record = CommandRecord(
        id="a", content_hash=b"", created_at=1.8e9, updated_at=1.8e9, submissions={**ended, **open_ones}
    )
    shown = to_senders(record)

    check(shown, _closed(schema), contract)
    assert {one["state"] for one in shown["submissions"]} == set(
        schema["properties"]["submissions"]["items"]["properties"]["state"]["enum"]
    )


def _closed(schema: Any) -> Any:
    """Return a schema by which every key has to be one that is documented, but in objects of any keys."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    return {**closed, "additionalProperties": False} if isinstance(schema.get("properties"), dict) else closed


def test_the_documented_command_is_the_one_of_the_broker() -> None:
    assert SCHEMAS["Command"] == command_schema()


def _key_pattern() -> str:
    (pattern,) = (
        parameter["schema"]["pattern"]
        for parameter in OPERATIONS["submit"]["parameters"]
        if parameter["name"] == "Idempotency-Key"
    )
    return str(pattern)


@pytest.mark.parametrize(
    "key", ["a", '"a"', '"a b,c;\\""', '"\\n"', "a b", "a,b", "", '""', "x" * 128, "x" * 129, '"a', "é"]
)
def test_a_key_is_one_by_the_contract_where_the_door_takes_it(key: str) -> None:
    assert (re.search(_key_pattern(), key) is not None) == (read_key(key.encode("latin-1")) is not None)


def test_the_secret_is_documented_as_the_header_that_is_compared() -> None:
    (name,) = CONTRACT["security"][0]
    scheme = CONTRACT["components"]["securitySchemes"][name]

    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "Authorization")
