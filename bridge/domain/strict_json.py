"""Strict JSON parser (RFC 8259) for untrusted input, with limits.

`json.loads` accepts more than JSON (NaN, duplicate keys, UTF-16) and fails on some input with unexpected errors
(RecursionError, the interpreter's limit on digits). Here all invalid input raises one error with a reason. Strings stay
unchanged, including lone surrogates (RFC 8259 section 8.2).
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Characters of a number at most. The longest double needs 24, a 256-bit integer 78.
MAX_NUMBER_LENGTH = 100

#: A key that may be named in a reason: an ordinary field name, neither a phone number nor a text injected for the logs.
_NAMEABLE = re.compile(r"(?!.*[0-9]{5})[A-Za-z_][A-Za-z0-9_]{0,63}\Z")


class NotStrictJSON(ValueError):
    """The body is not JSON by RFC 8259, or exceeds a limit. The text contains no value and may be logged."""


def loads(body: bytes, *, max_depth: int) -> object:
    """Return the value in `body`, with at most `max_depth` levels of arrays and objects.

    Raises:
        NotStrictJSON: with a reason that continues a name, as in "the body is not UTF-8".

    """
    try:
        value = _DECODER.decode(_text(body))
    except json.JSONDecodeError as e:
        raise NotStrictJSON(f"is not JSON: line {e.lineno} column {e.colno}") from None
    except RecursionError:
        raise _too_deep(max_depth) from None
    # A body without more brackets than levels cannot be too deep; this covers nearly all bodies.
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
    """Check level by level, without recursion."""
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
