"""Conversion of texts to valid UTF-8 and to terminal output."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Replaces half a surrogate pair (Unicode 15, section 3.9, "U+FFFD Substitution of Maximal Subparts").
REPLACEMENT = "\ufffd"
_HALF = re.compile("[\ud800-\udfff]")
#: The short escapes of control characters.
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def repaired(value: object) -> object:
    """Return a JSON value with U+FFFD for each half of a surrogate pair, in keys and strings at any depth.

    A complete pair is one character already, since `json` reads it as one.
    """
    if isinstance(value, str):
        return _repaired_text(value)
    if isinstance(value, list | tuple):
        return [repaired(item) for item in value]
    if not isinstance(value, dict):
        return value
    result: dict[str, object] = {}
    for key, item in value.items():
        name = _repaired_text(key)
        while name in result or (name != key and name in value):
            # Two keys must not become equal.
            name += REPLACEMENT
        result[name] = repaired(item)
    return result


def visible(text: str) -> str:
    r"""Return `text` on one line, with an escape for every character that is not printable: ``\u001b``, ``\n``.

    These are control characters, format characters (such as text direction), blanks other than the space, and
    unassigned characters. The escapes are those of a basic string in TOML 1.0.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def to_json(value: object, *, indent: int | None = None) -> str:
    """Return `value` as JSON in ASCII, without control characters except its own line ends.

    So it fits any encoding of a terminal and cannot control it. Types that JSON does not have become text.
    """
    # RFC 8259 section 7 allows an unescaped DEL in a string, so `json` leaves it.
    return json.dumps(value, indent=indent, default=str).replace("\x7f", "\\u007f")


def wants_colour(environ: Mapping[str, str], *, is_terminal: bool) -> bool:
    """Whether output is coloured: not with NO_COLOR (no-color.org), else with FORCE_COLOR or on a terminal."""
    if environ.get("NO_COLOR"):
        return False
    return bool(environ.get("FORCE_COLOR")) or is_terminal


def _repaired_text(text: str) -> str:
    return text if text.isascii() else _HALF.sub(REPLACEMENT, text)


def _escape(character: str) -> str:
    number = ord(character)
    return _NAMED.get(character) or (f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}")
