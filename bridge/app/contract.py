"""The contract's documents, with the configured names: what `bridge schema` prints and writes.

The files `asyncapi.json`, `submit.openapi.json` and `examples.json` are written by hand, and tests compare them with
the bridge. They contain names as placeholders, such as `{{command_queue}}`. The schemas of AMQP messages are generated
from the shapes that the code of the messages uses.

The AMQP bindings can't describe basic properties: those are in the extension `x-amqp-properties`, as a schema.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib import resources
from typing import TYPE_CHECKING, Any

from bridge.domain import contracts, events
from bridge.domain.contracts import commands
from bridge.domain.contracts.documents import COMMAND, DEAD_LETTER_HEADERS, REPLY, schemas, standalone
from bridge.domain.contracts.events import REPLY_PROPERTIES, TYPES, event_properties
from bridge.domain.contracts.shapes import Schema, Shape, Spelling
from bridge.domain.events import camel, camel_keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.domain.names import Names

#: The name of the OpenAPI document of commands over HTTP.
SUBMIT = "submit.openapi"
#: The name of the message that a dead letter is.
DEAD_LETTER = "dead-letter"

_PLAIN = Spelling()


def contract_files(names: Names, *, camel_case: bool) -> Mapping[str, str]:
    """Return the text of every file by its path: both documents, and each schema under `schemas/`."""
    documents = schema_documents(names, camel_case=camel_case)
    return {
        "asyncapi.json": _written(asyncapi_document(names, camel_case=camel_case)),
        f"{SUBMIT}.json": _written(openapi_document(camel_case=camel_case)),
        **{f"schemas/{name}.json": _written(document) for name, document in documents.items()},
    }


def schema_documents(names: Names, *, camel_case: bool) -> Mapping[str, Schema]:
    """Return every JSON Schema by its name, each a separate document with an example."""
    shown, spelling = examples(names, camel_case=camel_case), Spelling(camel_case=camel_case)
    return {
        name: standalone(name, schema, spelling, [shown[name]]) for name, schema in schemas(spelling).items()
    }


def examples(names: Names, *, camel_case: bool) -> dict[str, dict[str, Any]]:
    """Return an example of each message's body, and of the headers of commands and dead letters."""
    shown: dict[str, dict[str, Any]] = json.loads(_text("examples.json", names))
    if camel_case:
        for type_ in TYPES:
            shown[type_]["data"] = camel_keys(shown[type_]["data"])
    return {**shown, REPLY: shown[events.SENT]}


def openapi_document(*, camel_case: bool) -> dict[str, Any]:
    """Return the document of commands over HTTP, with the keys of an event's data spelt as configured."""
    document: dict[str, Any] = json.loads(_text(f"{SUBMIT}.json"))
    if camel_case:
        submissions = document["components"]["schemas"]["State"]["properties"]["submissions"]
        outcome = submissions["items"]["properties"]["outcome"]["properties"]
        outcome["data"] = _in_camel_case(outcome["data"])
    return document


def asyncapi_document(names: Names, *, camel_case: bool) -> dict[str, Any]:
    """Return the document of the messages on the broker (AsyncAPI 3.0.0)."""
    document: dict[str, Any] = json.loads(_text("asyncapi.json", names))
    document["components"] = {
        "messages": _messages(examples(names, camel_case=camel_case)),
        "schemas": _schemas(Spelling(camel_case=camel_case)),
    }
    return document


def _messages(shown: Mapping[str, object]) -> Schema:
    published = {
        type_: _message(
            type_,
            TYPES[type_][0],
            properties=event_properties(type_),
            examples=[{"payload": shown[type_]}],
            bindings={"amqp": {"messageType": type_, "bindingVersion": "0.3.0"}},
        )
        for type_ in TYPES
    }
    command = _message(
        COMMAND,
        commands.COMMAND.meaning,
        properties=commands.PROPERTIES,
        headers=_PLAIN.schema(commands.HEADERS),
        examples=[{"payload": shown[COMMAND], "headers": shown["command-headers"]}],
        contentType="application/json",
    )
    letter = {"payload": shown[COMMAND], "headers": shown[DEAD_LETTER_HEADERS]}
    return {
        COMMAND: command,
        **published,
        REPLY: _message(
            REPLY,
            "An outcome, as the reply that a command asked for.",
            properties=REPLY_PROPERTIES,
            examples=[{"payload": shown[REPLY]}],
        ),
        DEAD_LETTER: {
            **_message(
                DEAD_LETTER,
                "A dead-lettered command: body, properties and headers unchanged, and headers with the reason.",
                properties=commands.PROPERTIES,
                headers={"$ref": f"#/components/schemas/{DEAD_LETTER_HEADERS}"},
                examples=[letter],
                contentType="application/json",
            ),
            # A message that is not a command can be dead-lettered too.
            "payload": {
                "description": "The command as it was: JSON where it is one, any bytes where it is invalid."
            },
        },
    }


def _message(
    name: str, meaning: str, *, properties: Shape, examples: list[dict[str, object]], **others: object
) -> Schema:
    return {
        "name": name,
        "title": name,
        "summary": meaning,
        "contentType": events.CONTENT_TYPE,
        "payload": {"$ref": f"#/components/schemas/{name}"},
        **others,
        "examples": examples,
        "x-amqp-properties": _PLAIN.schema(properties),
    }


def _schemas(spelling: Spelling) -> Mapping[str, Schema]:
    """Return the schemas as components. The reply refers to them instead of its `$defs`."""
    written = dict(schemas(spelling))
    reply = written[REPLY]
    outcomes = reply.pop("$defs")
    if not isinstance(outcomes, dict):
        raise TypeError("$defs is an object")
    reply["anyOf"] = [{"$ref": f"#/components/schemas/{type_}"} for type_ in outcomes]
    return written


def _in_camel_case(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object, with its keys and those of nested objects in camelCase."""
    return {
        **schema,
        "required": [camel(name) for name in schema["required"]],
        "properties": {
            camel(name): _in_camel_case(value) if "properties" in value else value
            for name, value in schema["properties"].items()
        },
    }


def _text(file: str, names: Names | None = None) -> str:
    text = resources.files(contracts).joinpath(file).read_text(encoding="utf-8")
    for name, value in ({} if names is None else asdict(names)).items():
        text = text.replace(f"{{{{{name}}}}}", value)
    return text


def _written(document: Mapping[str, object]) -> str:
    """Return a document as its file has it."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
