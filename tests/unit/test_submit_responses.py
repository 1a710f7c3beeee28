"""The command API over real connections: the status of each request, its contract and its report.

docs/contracts/submit.openapi.json names the statuses that a service may see; `ROWS` has a request for each of them.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from structlog.testing import capture_logs

from bridge.adapters.http import submit_answers, submit_app
from bridge.adapters.http.idempotency import read_key
from bridge.adapters.http.server import connection, parser, registry
from bridge.adapters.http.server.response import Response
from bridge.adapters.http.submit_app import Submit, SubmitEndpointSettings
from bridge.app.contract import examples
from bridge.domain.contracts.commands import SUBMIT_PATH, command_schema
from bridge.domain.errors import CommandInvalid, UnreadableCommand
from bridge.domain.ledger import CommandRecord, StoredEvent, SubmissionRecord
from bridge.domain.outcomes import Outcome
from bridge.domain.shown_commands import to_senders
from bridge.ops.metrics import SUBMITS
from bridge.ports.http_results import Operation, SubmitResult, Unknown
from tests.harness import http_server
from tests.harness.contract_documents import CAMEL_CASE, DOCUMENTS, NAMES
from tests.harness.raw_http import Client
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.domain.messages import SubmittedCommand
    from bridge.ports.http_results import CommandAnswered, CommandShown

FILES = [DOCUMENTS / "submit.openapi.json", DOCUMENTS / CAMEL_CASE / "submit.openapi.json"]
CONTRACTS: list[dict[str, Any]] = [json.loads(path.read_text(encoding="utf-8")) for path in FILES]
CONTRACT = CONTRACTS[0]
ONE = f"{SUBMIT_PATH}/a"
OPERATIONS = {
    Operation.SUBMIT: CONTRACT["paths"][SUBMIT_PATH]["post"],
    Operation.SHOW: CONTRACT["paths"][f"{SUBMIT_PATH}/{{id}}"]["get"],
}
SCHEMAS: dict[str, Any] = CONTRACT["components"]["schemas"]
SECRET, OLD_SECRET = b"Bearer tangerine-4711", b"Bearer plum-0815"
SUBMIT, SHOW, NONE = Operation.SUBMIT, Operation.SHOW, Operation.NONE


class Behind:
    """Takes commands and lookups in place of the ingest, and remembers them."""

    def __init__(
        self,
        result: SubmitResult | Exception = SubmitResult.QUEUED,
        found: bytes | Unknown | Exception = b"{}",
    ) -> None:
        self.result = result
        self.found = found
        self.taken: list[SubmittedCommand] = []
        self.asked: list[str] = []
        self.refused: list[tuple[Operation, int]] = []
        #: Callbacks of requests that wait while `held`.
        self.waiting: list[CommandAnswered] = []
        self.held = False
        #: The id of a command without a key.
        self.id = "é/1"

    def take(self, submitted_command: SubmittedCommand, answered: CommandAnswered) -> None:
        self.taken.append(submitted_command)
        if self.held:
            self.waiting.append(answered)
        elif isinstance(self.result, (CommandInvalid, UnreadableCommand)):
            raise self.result
        else:
            answered(submitted_command.key or self.id, self.result)

    def show(self, command_id: str, shown: CommandShown) -> None:
        self.asked.append(command_id)
        shown(self.found)

    def refuse(self, operation: Operation, status: int, client: str | None) -> None:
        assert client == "127.0.0.1"
        self.refused.append((operation, status))


@contextmanager
def serving(behind: Behind, server: dict[str, Any] | None = None, **endpoint: Any) -> Iterator[Client]:
    settings = SubmitEndpointSettings(**{"authorization": (SECRET, OLD_SECRET)} | endpoint)
    submit = Submit(settings, behind.take, behind.show, refused=behind.refuse)
    with http_server.serving(submit, **(server or {})) as serves, Client(serves.port) as client:
        yield client


def wire(method: str = "POST", target: str = SUBMIT_PATH, body: bytes = b"{}", **headers: Any) -> bytes:
    """Return a request; a header of None is left out."""
    own = {"Authorization": SECRET.decode(), "Content-Length": str(len(body))}
    if method == "POST":
        own["Content-Type"] = "application/json"
    fields = own | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost:8080"]
    lines += [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A request and its status."""

    operation: Operation
    status: int
    sent: bytes
    behind: Behind = field(default_factory=lambda: Behind())
    #: In the problem's detail.
    word: str = ""
    #: Whether the request is reported as refused by the endpoint.
    refused: bool = True
    endpoint: dict[str, Any] = field(default_factory=dict)
    server: dict[str, Any] = field(default_factory=dict)


def taken(
    status: int, result: SubmitResult | Exception = SubmitResult.QUEUED, word: str = "", **headers: Any
) -> Row:
    return Row(
        operation=SUBMIT, status=status, sent=wire(**headers), behind=Behind(result), word=word, refused=False
    )


def shown(status: int, found: bytes | Unknown | Exception, word: str = "") -> Row:
    behind = Behind(found=found)
    return Row(
        operation=SHOW, status=status, sent=wire("GET", ONE, b""), behind=behind, word=word, refused=False
    )


def refused(operation: Operation, status: int, sent: bytes, word: str = "", **endpoint: Any) -> Row:
    return Row(operation=operation, status=status, sent=sent, word=word, endpoint=endpoint)


def both(status: int, endpoint: dict[str, Any] | None = None, **headers: Any) -> list[Row]:
    return [
        refused(SUBMIT, status, wire(body=b"", **headers), **(endpoint or {})),
        refused(SHOW, status, wire("GET", ONE, b"", **headers), **(endpoint or {})),
    ]


CHUNKED = wire(body=b"9\r\n123456789\r\n", Transfer_Encoding="chunked", Content_Length=None)
TWO_KEYS = wire(Idempotency_Key="a").replace(b"Host", b"Idempotency-Key: b\r\nHost")
ROWS = [
    # --- taken
    taken(202),
    taken(202, Authorization=OLD_SECRET.decode()),
    *[
        taken(202, Content_Type=types)
        for types in (
            "application/json; charset=utf-8", "Application/JSON", "application/x+json",
            "application/json, application/json", 'application/json; note="a,b"',
            "application/json\r\nContent-Type: application/json",
            "application/json\r\nContent-Type: Application/JSON ",
            "application/json; charset=utf-8\r\nContent-Type: application/json; charset=utf-8",
        )
    ],
    taken(400, UnreadableCommand("the body is not UTF-8"), "the body is not UTF-8"),
    taken(409, SubmitResult.CONFLICTING, "different content"),
    taken(422, CommandInvalid("message is missing", "destination_address[1] is odd")),
    taken(503, SubmitResult.UNROUTABLE, "no queue"),
    taken(503, SubmitResult.UNCONFIRMED, "may be in the queue or not"),
    taken(503, SubmitResult.UNAVAILABLE, "accepts no commands now"),
    shown(200, b"{}"),
    shown(404, Unknown.UNKNOWN, "may still wait in the queue"),
    shown(503, Unknown.UNAVAILABLE, "is unavailable now"),
    shown(500, KeyError("x")),
    # --- keys
    *[refused(SUBMIT, 400, wire(Idempotency_Key=key), "Idempotency-Key") for key in ('"a","b"', "caf\xe9", "", "a,b")],
    refused(SUBMIT, 400, TWO_KEYS, "Idempotency-Key"),
    # --- authorization
    *[
        one
        for given in ("Bearer wrong", "", f"{SECRET.decode()},{OLD_SECRET.decode()}", None)
        for one in both(401, Authorization=given)
    ],
    refused(SHOW, 401, wire("HEAD", ONE, b"", Authorization="x")),
    # --- paths and methods
    *[refused(NONE, 404, wire(target=target)) for target in ("/", "/v1/messagesx")],
    refused(NONE, 404, wire("GET", f"{SUBMIT_PATH}/")),
    *[refused(NONE, 405, wire(method)) for method in ("GET", "PUT")],
    *[refused(NONE, 405, wire(method, ONE)) for method in ("POST", "DELETE")],
    # --- bodies
    *both(408, {"body_timeout": 0.05}, Content_Length="99"),
    *both(413, Content_Length="262145"),
    refused(SUBMIT, 413, CHUNKED, max_body=8),
    *[
        refused(SUBMIT, 415, wire(Content_Type=types))
        for types in (
            # Any page in a browser can post a body without a type.
            None, "text/plain", "application/x-www-form-urlencoded", "application/json\r\nContent-Type: text/plain",
            "application/json; charset=utf-8\r\nContent-Type: text/plain", "text/plain\r\nContent-Type: text/plain",
        )
    ],
    refused(SUBMIT, 415, wire(Content_Encoding="gzip")),
    # --- no capacity
    refused(SUBMIT, 503, wire(), max_in_flight=0),
    # --- the server's own, which report no request
    *[
        Row(operation=operation, status=status, sent=sent, refused=False, server=server)
        for operation, method, target, body in ((SUBMIT, "POST", SUBMIT_PATH, b"{}"), (SHOW, "GET", ONE, b""))
        for status, sent, server in (
            (400, b"rubbish\r\n\r\n", {}),
            (431, wire(method, target, body, X="x" * parser.MAX_HEAD), {}),
            (503, wire(method, target, body), {"max_connections": 0}),
        )
    ],
]  # fmt: skip


@pytest.mark.parametrize(
    "asked", ROWS, ids=[f"{one.operation.value}-{one.status}-{number}" for number, one in enumerate(ROWS)]
)
def test_request_has_its_documented_status_and_is_reported_if_refused(asked: Row) -> None:
    behind = asked.behind
    with serving(behind, asked.server, **asked.endpoint) as client:
        status = client.send(asked.sent).status(head=asked.sent.startswith(b"HEAD"))

    assert status == asked.status
    assert behind.refused == ([(asked.operation, status)] if asked.refused else [])
    assert not asked.refused or (behind.taken, behind.asked) == ([], [])
    assert asked.word in client.body.decode()
    if isinstance(behind.result, SubmitResult) and behind.result is not SubmitResult.QUEUED:
        assert ("again with the same id" in client.body.decode()) == (status == 503)
    documented = OPERATIONS.get(asked.operation, {"responses": {}})["responses"].get(str(status))
    if documented is not None and client.body:
        check_documented(client, status, documented)


def check_documented(client: Client, status: int, documented: dict[str, Any]) -> None:
    content = documented.get("content", {})
    media_type, _, _ = client.headers.get("content-type", "").partition(";")

    assert media_type in content
    for name, header in documented.get("headers", {}).items():
        check(client.headers[name.lower()], header["schema"])
    if media_type == "application/problem+json" or status == 202:
        check(json.loads(client.body), content[media_type]["schema"])


def test_every_documented_status_is_answered_in_a_row_and_every_response_is_documented() -> None:
    documented = {
        (operation, int(status)) for operation, one in OPERATIONS.items() for status in one["responses"]
    }
    responses = {
        value.status
        for module in (connection, registry, submit_answers, submit_app)
        for value in vars(module).values()
        if isinstance(value, Response)
    }

    # An unexpected exception is in no contract.
    assert documented == {(one.operation, one.status) for one in ROWS if one.operation is not NONE} - {
        (SHOW, 500)
    }
    # A head that is too large names no operation.
    counted = {(Operation(name), status) for name, status in SUBMITS}
    assert counted == {one for one in documented if one[1] != 431} | {(NONE, 404), (NONE, 405)}
    # No operation has this one: it is about another method.
    assert responses - {405} <= {status for _, status in documented}


def check(value: Any, schema: dict[str, Any], contract: dict[str, Any] = CONTRACT) -> None:
    """Validate a value against one of the contract's schemas."""
    whole = {**schema, "components": contract["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_document_is_valid_openapi_by_an_independent_validator(path: Any) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))

    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_openapi_validator_finds_errors() -> None:
    document = json.loads(FILES[0].read_text(encoding="utf-8"))
    del document["paths"][SUBMIT_PATH]["post"]["responses"]["202"]["description"]

    assert list(OpenAPIV31SpecValidator(document).iter_errors())


def test_documented_bounds_are_those_in_force() -> None:
    said = OPERATIONS[SUBMIT]["requestBody"]["description"]

    assert f"at most {SubmitEndpointSettings(authorization=(SECRET,)).max_body // 1024} KiB" in said
    assert f"within {SubmitEndpointSettings(authorization=(SECRET,)).body_timeout:g} s" in said
    for operation in OPERATIONS.values():
        assert f"exceed {parser.MAX_HEAD // 1024} KiB" in operation["responses"]["431"]["description"]


@pytest.mark.parametrize("contract", CONTRACTS, ids=["snake_case", "camelCase"])
def test_response_of_a_command_is_as_documented(contract: dict[str, Any]) -> None:
    schema = contract["components"]["schemas"]["State"]
    camel_case = contract is not CONTRACT
    events = examples(NAMES, camel_case=camel_case)
    ended = {
        index: SubmissionRecord(
            index=index,
            state=outcome.value,
            attempts=1,
            first_attempt_at=1.8e9,
            stored_event=StoredEvent(event_id="", body=json.dumps(events[outcome.event_type]).encode()),
        )
        for index, outcome in enumerate(Outcome)
    }
    open_ones = {
        len(ended) + index: SubmissionRecord(index=len(ended) + index, state=state, retry_at=1.8e9)
        for index, state in enumerate(("waiting", "attempting", "in_doubt"))
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
    """Return a schema that permits documented keys only, except in objects of any keys."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    return {**closed, "additionalProperties": False} if isinstance(schema.get("properties"), dict) else closed


def test_documented_command_is_the_one_of_the_broker() -> None:
    assert SCHEMAS["Command"] == command_schema()


def _key_pattern() -> str:
    (pattern,) = (
        parameter["schema"]["pattern"]
        for parameter in OPERATIONS[SUBMIT]["parameters"]
        if parameter["name"] == "Idempotency-Key"
    )
    return str(pattern)


@pytest.mark.parametrize(
    "key", ["a", '"a"', '"a b,c;\\""', '"\\n"', "a b", "a,b", "", '""', "x" * 128, "x" * 129, '"a', "é"]
)
def test_idempotency_key_matches_the_contract_exactly_if_the_command_api_accepts_it(key: str) -> None:
    assert (re.search(_key_pattern(), key) is not None) == (read_key(key.encode("latin-1")) is not None)


def test_secret_is_documented_as_the_header_that_is_compared() -> None:
    (name,) = CONTRACT["security"][0]
    scheme = CONTRACT["components"]["securitySchemes"][name]

    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "Authorization")


# --- beyond the table ---------------------------------------------------------------------------------------------


def test_queued_command_is_answered_with_its_id_and_location() -> None:
    behind = Behind()
    with serving(behind) as client:
        client.send(wire(body=b'{"id":"x"}', traceparent="00-1")).status()

    assert (json.loads(client.body), client.headers["location"]) == (
        {"id": "é/1"},
        f"{SUBMIT_PATH}/%C3%A9%2F1",
    )
    assert [(one.body, one.key, one.traceparent) for one in behind.taken] == [(b'{"id":"x"}', None, "00-1")]


def test_known_command_is_shown_and_not_cached() -> None:
    behind = Behind(found=b'{"id":"a/b?"}')
    with serving(behind) as client:
        client.send(wire("GET", f"{SUBMIT_PATH}/a%2Fb%3F?x=1", b"")).status()

    assert (client.body, client.headers["cache-control"]) == (b'{"id":"a/b?"}', "no-store")
    assert behind.asked == ["a/b?"]


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
def test_location_of_a_queued_command_leads_to_that_command(id_: str) -> None:
    behind = Behind()
    behind.id = id_
    with serving(behind) as client:
        client.send(wire()).status()
        # As clients do: resolved against the URL that was posted to (RFC 3986 section 5.2).
        target = urlsplit(urljoin(f"http://localhost:8080{SUBMIT_PATH}", client.headers["location"]))
        client.send(wire("GET", target.path)).status()

    assert (target.query, target.fragment, behind.asked) == ("", "", [id_])


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
def test_key_is_read_with_quotes_and_without(header: str, key: str | None) -> None:
    assert read_key(header.encode("latin-1")) == key


def test_invalid_command_is_answered_with_a_pointer_to_each_field() -> None:
    reasons = ("message is missing", "destination_address[3] is not a string", "metadata is not an object")
    with serving(Behind(CommandInvalid(*reasons))) as client:
        status = client.send(wire()).status()

    assert (status, client.headers["content-type"]) == (422, "application/problem+json")
    assert json.loads(client.body)["errors"] == [
        {"pointer": "#/message", "detail": reasons[0]},
        {"pointer": "#/destination_address/3", "detail": reasons[1]},
        {"pointer": "#/metadata", "detail": reasons[2]},
    ]


def test_unexpected_exception_is_answered_500_without_details() -> None:
    with capture_logs() as lines, serving(Behind(KeyError("+16135550123"))) as client:
        status = client.send(wire()).status()

    assert (status, json.loads(client.body)) == (500, {"status": 500, "title": "Internal Server Error"})
    assert "16135550123" not in str(lines)


@pytest.mark.parametrize("authorization", [(), (b"",), (SECRET, b"")])
def test_missing_or_empty_authorization_setting_is_refused(
    authorization: tuple[bytes, ...],
) -> None:
    with pytest.raises(ValueError, match="requests without one"):
        SubmitEndpointSettings(authorization=authorization)


def test_requests_beyond_the_limit_are_answered_with_retry_after() -> None:
    behind = Behind()
    behind.held = True
    submit = Submit(
        SubmitEndpointSettings(authorization=(SECRET,), max_in_flight=1),
        behind.take,
        behind.show,
        refused=behind.refuse,
    )
    serves = http_server.serving(submit)
    with serves as server, Client(server.port) as first, Client(server.port) as second:
        first.send(wire() + wire("GET", f"{SUBMIT_PATH}/a"))
        wait_until(lambda: behind.waiting, what="the first command")
        busy = second.send(wire()).status()

        async def answer() -> None:
            behind.waiting[0]("a", SubmitResult.QUEUED)

        server.call(answer, 5)
        statuses = [first.status(), first.status()]
        behind.held = False
        after = second.send(wire()).status()

    assert (busy, second.headers.get("retry-after")) == (503, None)
    assert (statuses, after) == ([202, 200], 202)
    assert behind.refused == [(Operation.SUBMIT, 503)]
