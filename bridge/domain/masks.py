"""Masks for phone numbers in logs, metrics and errors.

A number is recognized by its position: in an address field, or in an id that repeats an address of its command. A text
of unknown origin (an exception of a library) has no such positions, so every run of digits that could be a number is
hidden. Dates, UUIDs and IPv4 addresses have a structure that no number has, and stay.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Characters of a foreign text that a log shows at most.
DEFAULT_LIMIT = 500

#: The replacement of the hidden part of a number.
_HIDDEN = "***"
#: Digits that stay visible, so that two numbers can be distinguished in a log.
_SHOWN = 4
#: In a text, fewer digits than this are not a subscriber number. A number with fewer digits is hidden completely.
_FEWEST = 7

#: A run of digits of any script, as long as a number, with the separators that people and URLs write.
_RUN = rf"\+?\d(?:(?:[\s.()/\u2010-\u2015-]|%2[0-9A-Fa-f]){{0,3}}\d){{{_FEWEST - 1},}}"
_NUMBER = re.compile(_RUN)
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
#: Not a number in spite of its digits: a UUID (RFC 9562), a date with or without a time (RFC 3339), an IPv4 address.
_KEPT = rf"""
    (?<![\w.+-])
    (?: [0-9a-fA-F]{{8}} (?: -[0-9a-fA-F]{{4}} ){{3}} -[0-9a-fA-F]{{12}}
      | (?:19|20)[0-9]{{2}} - (?:0[1-9]|1[0-2]) - (?:0[1-9]|[12][0-9]|3[01])
        (?: [Tt\ ] [0-2][0-9] :[0-5][0-9] (?: :[0-6][0-9] (?: [.,][0-9]{{1,6}} )? )?
            (?: [Zz] | [+-][0-2][0-9] (?: :?[0-5][0-9] )? )? )?
      | {_OCTET} (?: \.{_OCTET} ){{3}}
    )
    (?! [\w+-] | \.[0-9] )
"""
_KEPT_OR_NUMBER = re.compile(f"{_KEPT} | (?P<number> {_RUN} )", re.VERBOSE)
#: An id that does not match has too few digits near each other and is shown unchanged.
_MAY_HOLD_NUMBER = re.compile(rf"\d(?:\D{{0,3}}\d){{{_FEWEST - 1}}}")
_NO_DIGIT = re.compile(r"\D+")
#: The characters between two digits of a number in an id: a service may write underscores.
_BETWEEN = r"\D{0,3}"
#: A number with a plus sign.
_WITH_PLUS = re.compile(rf"\+[0-9](?:[\s._()/\u2010-\u2015-]{{0,3}}[0-9]){{{_FEWEST - 1},}}")


class Shown(str):
    """A text without numbers, which a log writes unmasked, on one line."""

    __slots__ = ()


def mask_number(number: str) -> str:
    """Return `number` with only its last four digits: ``***8877``. A short one is hidden completely."""
    digits = _digits(number)
    return _HIDDEN + digits[-_SHOWN:] if len(digits) >= _FEWEST else _HIDDEN


def mask_numbers(text: str, *, limit: int = DEFAULT_LIMIT, hosts: frozenset[str] = frozenset()) -> str:
    """Return `text` for a log: on one line, with at most `limit` characters, and with all phone numbers masked.

    `hosts` are the names of configured hosts, which are never masked.
    """
    # Text far beyond the limit cannot reach the result.
    line = " ".join(printable(text[: 4 * limit]).split())
    return shorten(_kept_or_number(hosts).sub(_kept_or_masked, line), limit)


def show_id(given: str, numbers: Callable[[], Iterable[str]]) -> Shown:
    """Return an id for a log, with the command's own `numbers` and any number with a plus sign masked.

    `numbers` returns the addresses of the id's command; it is called only if the id has enough digits.
    """
    if _MAY_HOLD_NUMBER.search(given) is None:
        return Shown(given)
    digits = _digits(given)
    for number in map(_digits, numbers()):
        # The last digits do not depend on country code and trunk prefix.
        if len(number) >= _FEWEST and number[-_FEWEST:] in digits:
            given = _spellings(number).sub(lambda found: mask_number(found[0]), given)
    return Shown(_WITH_PLUS.sub(lambda found: mask_number(found[0]), given))


def numbers_in(text: str) -> list[str]:
    """Return all runs of digits in a text that are as long as a phone number."""
    return _NUMBER.findall(text)


@functools.lru_cache(maxsize=8)  # a process has one configuration
def _kept_or_number(hosts: frozenset[str]) -> re.Pattern[str]:
    """Return the pattern of phone numbers; it first matches hosts, dates and ids, which are kept."""
    names = "|".join(map(re.escape, sorted(hosts, key=len, reverse=True)))
    if not names:
        return _KEPT_OR_NUMBER
    host = rf"(?<![\w.-]) (?i:{names}) (?! [\w-] | \.\w)"
    return re.compile(f"{host} | {_KEPT_OR_NUMBER.pattern}", re.VERBOSE)


def _spellings(number: str) -> re.Pattern[str]:
    """Return a pattern for a number with all its digits, or without some of the first."""
    optional = "".join(f"(?:{digit}{_BETWEEN})?" for digit in number[:-_FEWEST])
    return re.compile(rf"\+?{optional}{_BETWEEN.join(number[-_FEWEST:])}")


def _digits(text: str) -> str:
    return _NO_DIGIT.sub("", text)


def _kept_or_masked(found: re.Match[str]) -> str:
    return found[0] if found["number"] is None else mask_number(found[0])


def printable(text: str) -> str:
    """Return `text` with a space for every control, format or unassigned character and lone surrogate.

    Without them a text cannot forge log lines or control a terminal, and every encoder accepts it.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)


def shorten(text: str, limit: int) -> str:
    """Return at most `limit` characters of `text`, with an ellipsis at the end if it was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
