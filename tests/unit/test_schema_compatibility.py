"""Schema compatibility: breaking changes for readers and writers of a contract."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.domain.contracts.documents import COMMAND, schemas
from bridge.domain.contracts.shapes import Spelling
from tests.harness.schema_compatibility import Side, breaks

STRING = {"type": "string"}
NULLABLE = {"type": ["string", "null"]}
INTEGER = {"type": "integer"}


def message(required: list[str] | None = None, **keys: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(keys) if required is None else required, "properties": keys}


def nested(**keys: Any) -> dict[str, Any]:
    return message(data=message(**keys))


@pytest.mark.parametrize(
    ("side", "before", "after", "said"),
    [
        ("reader", nested(a=STRING), nested(b=STRING), "data.a: was removed or renamed"),
        ("reader", nested(a=STRING), nested(a=INTEGER), "data.a: was string, is integer"),
        ("reader", nested(a=STRING), nested(a=NULLABLE), "data.a: was string, is null or string"),
        ("reader", nested(a=STRING), nested(a={}), "data.a: was string, is any"),
        ("reader", message(a=STRING), message([], a=STRING), "a: is not always there any more"),
        ("reader", message(a={"const": "x"}), message(a={"const": "y"}), "a: const was x, is y"),
        (
            "reader",
            message(a={"anyOf": [STRING]}),
            message(a={"anyOf": [INTEGER]}),
            "a(0): was string, is integer",
        ),
        (
            "reader",
            message(a={"anyOf": [STRING]}),
            message(a={"anyOf": [STRING, INTEGER]}),
            "a: was one of 1, is one of 2",
        ),
        (
            "reader",
            {"$defs": {"sent": message(a=STRING)}},
            {"$defs": {"sent": message()}},
            "#sent.a: was removed or renamed",
        ),
        ("reader", {"$defs": {"sent": message(a=STRING)}}, {}, "#sent.a: was removed or renamed"),
        ("writer", message([], a=STRING), message([]), "a: was removed or renamed"),
        ("writer", message([], a=STRING), message(a=STRING), "a: is needed now"),
        ("writer", message([], a=STRING), message(a=STRING, b=STRING), "b: is needed now"),
        ("writer", message(a=NULLABLE), message(a=STRING), "a: was null or string, is string"),
        ("writer", message(a={}), message(a=STRING), "a: was any, is string"),
        ("writer", message(a=STRING), message(a={**STRING, "maxLength": 3}), "a: maxLength was None, is 3"),
        (
            "writer",
            message(a={"anyOf": [STRING, INTEGER]}),
            message(a={"anyOf": [STRING]}),
            "a: was one of 2, is one of 1",
        ),
        (
            "writer",
            message(a={"type": "array", "items": NULLABLE}),
            message(a={"type": "array", "items": STRING}),
            "a[]: was null or string, is string",
        ),
        (
            "writer",
            message(a={"type": "object"}),
            message(a={"type": "object", "additionalProperties": False}),
            "a: additionalProperties was None, is False",
        ),
    ],
)
def test_breaking_change_is_named(
    side: Side, before: dict[str, Any], after: dict[str, Any], said: str
) -> None:
    assert said in list(breaks(before, after, side))


@pytest.mark.parametrize(
    ("side", "before", "after"),
    [
        ("reader", nested(a=STRING), nested(a=STRING, b=STRING)),
        ("reader", nested(a=NULLABLE), nested(a=STRING)),
        ("reader", message([], a=STRING), message(a=STRING)),
        ("reader", message(a=STRING), message(a={**STRING, "description": "It is explained now."})),
        ("writer", message(a=STRING), message(["a"], a=NULLABLE, b=STRING)),
        ("writer", message(a=STRING), message([], a={})),
        ("writer", message(a={"anyOf": [STRING]}), message(a={"anyOf": [STRING, INTEGER]})),
    ],
)
def test_compatible_change_is_accepted(side: Side, before: dict[str, Any], after: dict[str, Any]) -> None:
    assert list(breaks(before, after, side)) == []


@pytest.mark.parametrize("name", schemas(Spelling()))
def test_schema_may_follow_itself(name: str) -> None:
    schema = schemas(Spelling())[name]

    assert list(breaks(schema, schema, "writer" if name == COMMAND else "reader")) == []
