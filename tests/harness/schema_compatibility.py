"""Whether one JSON Schema of the contract may follow another under the same major version.

Consumers read events by what was promised, and services write commands by it. So what is *read* must go on being there,
with no kind of value that was not there before; what is *written* must go on being taken. Only the keywords that
`bridge.domain.contracts` writes are known; with any other the answer is no.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Schema: TypeAlias = "Mapping[str, Any]"
#: Who goes by the schema: who reads what we write, or who writes what we read.
Side: TypeAlias = Literal["reader", "writer"]

#: Keywords that say nothing about what is valid.
_ANNOTATIONS = frozenset({"description", "title", "examples", "$schema", "$id", "format"})
#: Keywords that are compared one by one; all others have to be the same.
_COMPARED = _ANNOTATIONS | {
    "type",
    "properties",
    "required",
    "anyOf",
    "$defs",
    "items",
    "additionalProperties",
}


def breaks(before: Schema, after: Schema, side: Side, path: str = "") -> Iterator[str]:
    """Yield each thing that whoever goes by `before` could not live with in `after`, with the key it is about."""
    where = path or "the message"
    yield from _keys(before, after, side, path)
    old, new = _types(before), _types(after)
    if not (_within(new, old) if side == "reader" else _within(old, new)):
        yield f"{where}: was {_named(old)}, is {_named(new)}"
    for keyword in (before.keys() | after.keys()) - _COMPARED:
        if before.get(keyword) != after.get(keyword):
            yield f"{where}: {keyword} was {before.get(keyword)}, is {after.get(keyword)}"
    for keyword in ("items", "additionalProperties"):
        one, other = before.get(keyword), after.get(keyword)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from breaks(one, other, side, f"{path}[]")
        elif one != other:
            yield f"{where}: {keyword} was {one}, is {other}"
    yield from _choices(before, after, side, path)
    for name, schema in before.get("$defs", {}).items():
        yield from breaks(schema, after.get("$defs", {}).get(name, {}), side, f"{path}#{name}")


def _keys(before: Schema, after: Schema, side: Side, path: str) -> Iterator[str]:
    """Compare the keys of two objects: new ones may come, those that are there stay."""
    old, new = before.get("properties", {}), after.get("properties", {})
    needed_before, needed = set(before.get("required", ())), set(after.get("required", ()))
    for name, schema in old.items():
        at = f"{path}.{name}".lstrip(".")
        if name not in new:
            yield f"{at}: was removed or renamed"
            continue
        yield from breaks(schema, new[name], side, at)
    changed = needed_before - needed if side == "reader" else needed - needed_before
    verb = "is not always there any more" if side == "reader" else "is needed now"
    yield from (f"{path}.{name}".lstrip(".") + f": {verb}" for name in sorted(changed))


def _choices(before: Schema, after: Schema, side: Side, path: str) -> Iterator[str]:
    """Compare what may be one of several, in their order: a writer's may grow, a reader's may not."""
    old, new = before.get("anyOf", []), after.get("anyOf", [])
    for number, (one, other) in enumerate(zip(old, new, strict=False)):
        yield from breaks(one, other, side, f"{path}({number})")
    if len(new) < len(old) if side == "writer" else len(new) != len(old):
        yield f"{path or 'the message'}: was one of {len(old)}, is one of {len(new)}"


def _types(schema: Schema) -> set[str]:
    given = schema.get("type", "any")
    return {given} if isinstance(given, str) else set(given)


def _within(inner: set[str], outer: set[str]) -> bool:
    return "any" in outer or ("any" not in inner and inner <= outer)


def _named(types: set[str]) -> str:
    return " or ".join(sorted(types))
