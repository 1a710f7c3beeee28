"""What may be shown of numbers and of foreign text where people and machines read along: logs, metrics, errors."""

from __future__ import annotations

import re

#: Characters of a foreign text that are worth a place in a log.
DEFAULT_LIMIT = 500

#: What stands for the hidden part of a number.
_HIDDEN = "***"
#: Digits left to be seen, so that two numbers can be told apart in a log.
_SHOWN = 4
#: Fewer digits than this are no subscriber's number worth hiding in a text; a number as such is hidden whole below it.
_FEWEST = 7

#: A run of digits of any script with what people and URLs write between them, where it is as long as a number.
#: It hides a timestamp or an IPv4 address too: rather one too many than one too few.
_NUMBER = re.compile(rf"\+?\d(?:(?:[\s.()/\u2010-\u2015-]|%2[0-9A-Fa-f]){{0,3}}\d){{{_FEWEST - 1},}}")


def mask_number(number: str) -> str:
    """Return `number` with nothing but its last four digits: ``***8877``. A short one is hidden whole."""
    digits = [character for character in number if character.isdigit()]
    return _HIDDEN + "".join(digits[-_SHOWN:]) if len(digits) >= _FEWEST else _HIDDEN


def mask_numbers(text: str, *, limit: int = DEFAULT_LIMIT) -> str:
    """Return `text` fit for a log: on one line, at most `limit` characters, every phone number in it masked."""
    # What is far beyond the limit can't reach the result and need not be looked at.
    line = " ".join(printable(text[: 4 * limit]).split())
    return shorten(_NUMBER.sub(lambda found: mask_number(found[0]), line), limit)


def printable(text: str) -> str:
    """Return `text` with a space for every control, format or unassigned character and lone surrogate.

    Without them no log line can be forged, no terminal steered and every encoder has an easy time.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)


def shorten(text: str, limit: int) -> str:
    """Return at most `limit` characters of `text`, the last an ellipsis where something is missing."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
