"""Shapes of the contract: objects with their keys, types and meanings, and the JSON Schema of each.

The schemas use only keywords with the same meaning in JSON Schema 2020-12, in draft-07 and in AsyncAPI's Schema Object
(AsyncAPI 3.0.0, "Schema Object", a superset of draft-07), so that one schema serves all three.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from bridge.domain.events import camel

#: A JSON Schema, or part of one.
Schema: TypeAlias = dict[str, object]

ANY: Schema = {}
STRING: Schema = {"type": "string"}
TEXT: Schema = {"type": "string", "minLength": 1}
BOOLEAN: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
STRINGS: Schema = {"type": "object", "additionalProperties": STRING}
NULL: Schema = {"type": "null"}
#: RFC 9562 section 5.5.
UUID5: Schema = {
    "type": "string",
    "format": "uuid",
    "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
}
#: RFC 3339 section 5.6, as `bridge.domain.events.rfc3339` writes it.
TIME: Schema = {
    "type": "string",
    "format": "date-time",
    "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{3}Z$",
}
#: W3C Trace Context, level 1, section 3.2.
TRACEPARENT: Schema = {
    "type": "string",
    "pattern": "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,200})?$",
}


@dataclass(frozen=True, slots=True)
class Key:
    """A key of an object."""

    #: In snake_case; `Spelling` converts it.
    name: str
    type: Schema | Shape
    meaning: str
    #: Whether the key is always present.
    required: bool = True
    #: Whether the value may be null.
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """An object."""

    meaning: str
    keys: tuple[Key, ...]
    #: Whether the object may also have keys that are not in the contract.
    mixed: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the keys, in their order."""
        return tuple(key.name for key in self.keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelling:
    """The variant of a schema: the spelling of its keys, and whether other keys are allowed."""

    camel_case: bool = False
    #: Whether unknown keys violate the schema. Consumers ignore such keys; the bridge's tests do not.
    closed: bool = False

    def schema(self, shape: Shape) -> Schema:
        """Return the schema of an object."""
        written: Schema = {"description": shape.meaning, "type": "object"}
        if required := [self.name(key) for key in shape.keys if key.required]:
            written["required"] = required
        written["properties"] = {self.name(key): self._property(key) for key in shape.keys}
        if self.closed and not shape.mixed:
            written["additionalProperties"] = False
        return written

    def name(self, key: Key) -> str:
        """Return the spelling of a key."""
        return camel(key.name) if self.camel_case else key.name

    def _property(self, key: Key) -> Schema:
        written = self.schema(key.type) if isinstance(key.type, Shape) else key.type
        if key.nullable:
            written = nullable(written)
        return {"description": key.meaning, **written} if "description" not in written else written


def constant(value: str | int) -> Schema:
    """Return the schema of one value."""
    return {"type": "string" if isinstance(value, str) else "integer", "const": value}


def nullable(schema: Schema) -> Schema:
    """Return a schema that also allows null."""
    if isinstance(kind := schema.get("type"), str) and not {"const", "enum"} & schema.keys():
        return {**schema, "type": [kind, "null"]}
    if isinstance(choices := schema.get("anyOf"), list):
        return {**schema, "anyOf": [*choices, NULL]}
    return {"anyOf": [schema, NULL]}
