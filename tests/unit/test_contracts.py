"""The contract of the messages: checked-in files, independent validators and compatibility."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.app import parts
from bridge.app.contract import asyncapi_document
from bridge.domain import events
from bridge.domain.command_parser import FIELDS, parse_command
from bridge.domain.commands import CommandRules, SendSms
from bridge.domain.contracts.documents import COMMAND, VERSION, schemas
from bridge.domain.contracts.events import TYPES
from bridge.domain.contracts.shapes import Spelling
from bridge.settings import Settings
from tests.harness import contract_check
from tests.harness.contract_documents import (
    CAMEL_CASE,
    DOCUMENTS,
    PROMISES,
    expected_documents,
    promised,
    promises,
)
from tests.harness.schema_compatibility import breaks
from tests.unit.test_commands import SAMPLES

SCHEMAS = sorted(DOCUMENTS.glob("**/schemas/*.json"))
ASYNCAPI = [DOCUMENTS / "asyncapi.json", DOCUMENTS / CAMEL_CASE / "asyncapi.json"]
OPENAPI = [DOCUMENTS / "submit.openapi.json", DOCUMENTS / CAMEL_CASE / "submit.openapi.json"]
#: The official schema of AsyncAPI 3.0.0, as @asyncapi/specs 6.11.1 has it.
OFFICIAL = Path(__file__).parents[1] / "vendored" / "asyncapi" / "3.0.0.json"
NOW = 1_800_000_000.0
HOW = "`python -m tests.harness.contract_documents` writes them"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    return str(path.relative_to(DOCUMENTS))


# -- checked-in files ------------------------------------------------------------------------------


def test_checked_in_contracts_match_the_code() -> None:
    expected = expected_documents()
    there = {*SCHEMAS, *ASYNCAPI, *OPENAPI}

    assert there == expected.keys(), HOW
    assert [name_of(path) for path, text in expected.items() if path.read_text("utf-8") != text] == [], HOW


def test_every_type_of_event_has_its_schema() -> None:
    types = {value for value in vars(events).values() if isinstance(value, str) and value.startswith("sms.")}

    assert types == TYPES.keys()
    assert types < schemas(Spelling()).keys()


# -- independent validators ------------------------------------------------------------------------


@pytest.mark.parametrize("path", SCHEMAS, ids=name_of)
def test_schema_is_json_schema_2020_12_and_takes_its_examples(path: Path) -> None:
    schema = read(path)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())

    assert schema["examples"]
    for example in schema["examples"]:
        validator.validate(example)


def test_every_schema_has_a_unique_id_with_the_major_version() -> None:
    ids = [read(path)["$id"] for path in SCHEMAS]

    assert len(set(ids)) == len(ids)
    assert {id_.split(":")[3] for id_ in ids} == {VERSION.partition(".")[0]}


@pytest.mark.parametrize("path", ASYNCAPI, ids=name_of)
def test_document_is_asyncapi_by_its_official_schema(path: Path) -> None:
    errors = jsonschema.Draft7Validator(read(OFFICIAL)).iter_errors(read(path))

    assert [f"{error.json_path}: {error.message[:200]}" for error in errors] == []


def test_official_schema_finds_what_is_wrong() -> None:
    document = read(ASYNCAPI[0])
    document["operations"]["tellEvent"]["action"] = "publish"

    assert not jsonschema.Draft7Validator(read(OFFICIAL)).is_valid(document)


@pytest.mark.parametrize("path", ASYNCAPI, ids=name_of)
def test_every_reference_of_the_document_leads_somewhere(path: Path) -> None:
    document = read(path)

    for reference in references(document):
        found = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]


def references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [reference for each in node for reference in references(each)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
    return own + [reference for each in node.values() for reference in references(each)]


@pytest.mark.parametrize("path", ASYNCAPI, ids=name_of)
def test_every_message_has_an_example_that_its_schemas_take(path: Path) -> None:
    document = read(path)
    components = document["components"]

    for message in components["messages"].values():
        assert message["examples"]
        for example in message["examples"]:
            for part, schema in (("payload", message["payload"]), ("headers", message.get("headers", {}))):
                whole = {**schema, "components": components}
                jsonschema.Draft7Validator(whole).validate(example.get(part, {}))


def test_channels_are_those_of_the_topology_for_any_names() -> None:
    broker = {"prefix": "x", "command_queue": "a.queue", "events_exchange": "e"}
    settings = Settings.model_validate({"broker": broker})
    names, topology = settings.broker.names, parts.topology(settings)
    channels = asyncapi_document(names, camel_case=False)["channels"]
    bindings = [channel["bindings"]["amqp"] for channel in channels.values()]

    exchanges = {binding["exchange"]["name"] for binding in bindings if "exchange" in binding}
    queues = {binding["queue"]["name"] for binding in bindings if "queue" in binding}
    assert exchanges - {""} == {exchange.name for exchange in topology.exchanges()}
    assert queues == topology.own_queues - {topology.given_up_queue}
    assert channels["commands"]["address"] == topology.commands().routing_key
    assert topology.command_queue in channels["commands"]["description"]


def test_every_type_of_event_is_in_the_channels_and_operations_of_events() -> None:
    document = read(ASYNCAPI[0])
    events_channel, operation = document["channels"]["events"], document["operations"]["tellEvent"]
    listed = [reference["$ref"].rpartition("/")[2] for reference in operation["messages"]]

    assert document["info"]["version"] == VERSION
    assert events_channel["parameters"]["type"]["enum"] == listed == list(TYPES)
    assert list(events_channel["messages"]) == list(TYPES)
    assert list(document["channels"]["unroutedEvents"]["messages"]) == list(TYPES)


# -- compatibility ---------------------------------------------------------------------------------


def test_version_changes_with_the_contract() -> None:
    recorded = dict(promises())

    assert VERSION in recorded, HOW
    assert recorded[VERSION] == promised(), "the contract has changed: raise VERSION"
    assert list(recorded)[-1] == VERSION


def test_each_version_is_compatible_with_the_one_before() -> None:
    for (before, old), (after, new) in pairwise(promises()):
        if before.split(".")[0] == after.split(".")[0]:
            assert broken(old, new) == [], f"{after} breaks {before}"


def broken(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    gone = [f"{name} is gone" for name in old.keys() - new.keys()]
    return gone + [
        f"{name}: {one}"
        for name in old.keys() & new.keys()
        for one in breaks(old[name], new[name], "writer" if name == COMMAND else "reader")
    ]


def test_key_that_vanishes_from_an_event_is_noticed() -> None:
    first = read(PROMISES / "1.0.0.json")
    changed = json.loads(json.dumps(first).replace('"attempts"', '"tries"'))

    assert "sms.outbound.sent: data.attempts: was removed or renamed" in broken(first, changed)


# -- commands --------------------------------------------------------------------------------------

_VALUES = st.one_of(
    st.none(),
    st.text(),
    st.integers(),
    st.sampled_from(
        ["+16131234567", "tel:+1-613-123-4567", "SIP:6131234567@d.example", "default", "sms", ""]
    ),
    st.lists(st.sampled_from(["+16131234567", "6131234568", "x"])),
    st.dictionaries(st.text(), st.text() | st.none()),
    st.sampled_from(["2027-01-15T08:05:00Z", "2027-01-15 08:05:00.5+01:00"]),
)


@given(
    good=st.sets(st.sampled_from([*FIELDS])),
    unusual=st.dictionaries(st.sampled_from([*FIELDS, *FIELDS.values(), "unknown"]), _VALUES, max_size=3),
)
@settings(max_examples=300)
def test_command_that_the_bridge_accepts_is_valid_by_the_schema(
    good: set[str], unusual: dict[str, Any]
) -> None:
    command = {**{name: SAMPLES[name] for name in good}, **unusual}
    body = json.dumps(command).encode()
    taken = isinstance(parse_command(body, "m1", rules=CommandRules(), now=NOW), SendSms)

    assert contract_check.is_command(command) or not taken


@pytest.mark.parametrize(
    "command",
    [
        {},
        [],
        {"message": "hi"},
        {"destination_address": "+16131234567"},
        {"destination_address": None, "message": "hi"},
        {"destination_address": [], "message": "hi"},
        {"destination_address": "+16131234567", "message": ""},
        {"destination_address": "+16131234567", "message": None},
        {"destination_address": "613 123 4567", "message": "hi"},
        {"destination_address": ["+16131234567", 5], "message": "hi"},
        {"destination_address": "+16131234567", "message": "hi", "id": ""},
        {"destination_address": "+16131234567", "message": "hi", "id": 5},
        {"destination_address": "+16131234567", "message": "hi", "id": "x" * 129},
        {"destination_address": "+16131234567", "message": "hi", "type": "mms"},
        {"destination_address": "+16131234567", "message": "hi", "metadata": {"a": 1}},
        {"destinationAddress": "+16131234567", "message": "hi", "senderAddress": "nobody"},
    ],
)
def test_command_that_the_schema_refuses_is_refused_by_the_bridge(command: Any) -> None:
    parsed = parse_command(json.dumps(command).encode(), "m1", rules=CommandRules(), now=NOW)

    assert not contract_check.is_command(command)
    assert not isinstance(parsed, SendSms)
