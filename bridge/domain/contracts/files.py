"""The contract's files, by their names: what `bridge schema` prints and writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bridge.domain.contracts import examples
from bridge.domain.contracts.asyncapi import asyncapi_document
from bridge.domain.contracts.documents import COMMAND, DEAD_LETTER_HEADERS, REPLY, schemas, standalone
from bridge.domain.contracts.examples import letter_headers, make_examples
from bridge.domain.contracts.openapi import openapi_document
from bridge.domain.contracts.shapes import Schema, Spelling

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.domain.contracts.names import Names

#: The name of the AsyncAPI document's file.
ASYNCAPI = "asyncapi.json"
#: The name of the OpenAPI document of the door for commands.
SUBMIT = "submit.openapi"


def schema_documents(names: Names, *, camel_case: bool) -> Mapping[str, Schema]:
    """Return every JSON Schema by its name, each a document of its own with an example."""
    made = make_examples(names, camel_case=camel_case)
    shown: dict[str, object] = {type_: json.loads(message.body) for type_, message in made.events.items()}
    shown[COMMAND] = examples.COMMAND
    shown[REPLY] = json.loads(made.reply.body)
    shown[DEAD_LETTER_HEADERS] = letter_headers(made.dead_letter)
    spelling = Spelling(camel_case=camel_case)
    return {
        name: standalone(name, schema, spelling, [shown[name]]) for name, schema in schemas(spelling).items()
    }


def papers(names: Names, *, camel_case: bool) -> Mapping[str, str]:
    """Return the text of every file by its path: the documents, and a schema each under `schemas/`."""
    documents = schema_documents(names, camel_case=camel_case)
    return {
        ASYNCAPI: written(asyncapi_document(names, camel_case=camel_case)),
        f"{SUBMIT}.json": written(openapi_document(camel_case=camel_case)),
        **{f"schemas/{name}.json": written(document) for name, document in documents.items()},
    }


def written(document: Schema) -> str:
    """Return a document as its file has it."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
