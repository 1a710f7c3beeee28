"""JSON from outside, read to the letter of RFC 8259 and within bounds.

`json.loads` takes more than JSON (NaN, a key twice, UTF-16) and fails on some of it with errors nobody
expects of a parser (RecursionError, the interpreter's limit on digits). Here whatever is not plain JSON has
one error with a reason. Strings are kept as they are, lone surrogates too (RFC 8259 section 8.2).
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Characters a number may have. The longest double needs 24, a 256-bit integer 78.
MAX_NUMBER_LENGTH = 100

#: A key that can be named in a reason: an ordinary field name, neither a phone number nor text that somebody
#: wants to see in our logs.
_NAMEABLE = re.compile(r"(?!.*[0-9]{5})[A-Za-z_][A-Za-z0-9_]{0,63}\Z")


class NotStrictJSON(ValueError):
    """The body is not JSON as RFC 8259 has it, or beyond the bounds; names no value, so it may be logged."""


def loads(body: bytes, *, max_depth: int) -> object:
    """Return what `body` says, at most `max_depth` arrays and objects inside each other.

    Raises:
        NotStrictJSON: with a reason that reads on after a name, as in "the body is not UTF-8".

    """
    try:
        value = _DECODER.decode(_text(body))
    except json.JSONDecodeError as e:
        raise NotStrictJSON(f"is not JSON: line {e.lineno} column {e.colno}") from None
    except RecursionError:
        raise _too_deep(max_depth) from None
    # A body with no more brackets than levels can't be too deep: nearly all are done here.
    if body.count(b"[") + body.count(b"{") > max_depth:
        _check_depth(value, max_depth)
    return value


def _text(body: bytes) -> str:
    if body.startswith(b"\xef\xbb\xbf"):
        raise NotStrictJSON("begins with a byte order mark")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise NotStrictJSON("is not UTF-8") from None


def _check_depth(value: object, max_depth: int) -> None:
    """Go down level by level, so that the check itself has no depth."""
    level = [value]
    for _ in range(max_depth):
        level = [child for parent in level for child in _children(parent) if isinstance(child, dict | list)]
        if not level:
            return
    raise _too_deep(max_depth)


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _too_deep(max_depth: int) -> NotStrictJSON:
    return NotStrictJSON(f"is nested deeper than {max_depth}")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise NotStrictJSON(f"has the key twice: {twice}" if _NAMEABLE.match(twice) else "has a key twice")
    return result


def _integer(digits: str) -> int:
    return int(_bounded(digits))


def _float(digits: str) -> float:
    number = float(_bounded(digits))
    if math.isinf(number):
        raise NotStrictJSON("has a number that is too big")
    return number


def _bounded(digits: str) -> str:
    if len(digits) > MAX_NUMBER_LENGTH:
        raise NotStrictJSON("has a number that is too long")
    return digits


def _constant(name: str) -> NoReturn:
    raise NotStrictJSON(f"{name} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)
