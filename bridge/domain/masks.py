"""Hides phone numbers where people and machines read along: in logs, metrics and errors.

A number is known by its place: a field for an address, or an id that repeats an address of its own command. A text of
unknown origin (an exception of a library) has no such places, so every run of digits in it is hidden that could be a
number; dates, UUIDs and IPv4 addresses have a structure that no number has, and stay.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Characters of a foreign text that are worth a place in a log.
DEFAULT_LIMIT = 500

#: What stands for the hidden part of a number.
_HIDDEN = "***"
#: Digits left to be seen, so that two numbers can be told apart in a log.
_SHOWN = 4
#: Fewer digits than this are no subscriber's number worth hiding in a text; a number as such is hidden whole below it.
_FEWEST = 7

#: A run of digits of any script with what people and URLs write between them, where it is as long as a number.
_RUN = rf"\+?\d(?:(?:[\s.()/\u2010-\u2015-]|%2[0-9A-Fa-f]){{0,3}}\d){{{_FEWEST - 1},}}"
_NUMBER = re.compile(_RUN)
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
#: What has many digits and is no number: a UUID (RFC 9562), a date with or without a time (RFC 3339), an IPv4 address.
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
#: Without as many digits near each other an id is shown without a closer look.
_MAY_HOLD_NUMBER = re.compile(rf"\d(?:\D{{0,3}}\d){{{_FEWEST - 1}}}")
_NO_DIGIT = re.compile(r"\D+")
#: What may stand between two digits of a number in an id: a service may write it with underscores.
_BETWEEN = r"\D{0,3}"
#: A number that says itself that it is one.
_WITH_PLUS = re.compile(rf"\+[0-9](?:[\s._()/\u2010-\u2015-]{{0,3}}[0-9]){{{_FEWEST - 1},}}")


class Shown(str):
    """A text that a log writes as it is, but on one line: its maker has taken the numbers out of it."""

    __slots__ = ()


def mask_number(number: str) -> str:
    """Return `number` with nothing but its last four digits: ``***8877``. A short one is hidden whole."""
    digits = _digits(number)
    return _HIDDEN + digits[-_SHOWN:] if len(digits) >= _FEWEST else _HIDDEN


def mask_numbers(text: str, *, limit: int = DEFAULT_LIMIT, hosts: frozenset[str] = frozenset()) -> str:
    """Return `text` fit for a log: on one line, at most `limit` characters, every phone number in it masked.

    `hosts` are the names of hosts that are configured: these are shown whole, whatever digits they have.
    """
    # What is far beyond the limit can't reach the result and need not be looked at.
    line = " ".join(printable(text[: 4 * limit]).split())
    return shorten(_kept_or_number(hosts).sub(_kept_or_masked, line), limit)


def show_id(given: str, numbers: Callable[[], Iterable[str]]) -> Shown:
    """Return an id fit for a log: as it is, but for what in it is one of `numbers` or a number with its plus.

    `numbers` returns the addresses of the id's own command; it is called only where the id has as many digits as one.
    """
    if _MAY_HOLD_NUMBER.search(given) is None:
        return Shown(given)
    digits = _digits(given)
    for number in map(_digits, numbers()):
        # With or without country code and trunk prefix, its last digits are the same.
        if len(number) >= _FEWEST and number[-_FEWEST:] in digits:
            given = _spellings(number).sub(lambda found: mask_number(found[0]), given)
    return Shown(_WITH_PLUS.sub(lambda found: mask_number(found[0]), given))


def numbers_in(text: str) -> list[str]:
    """Return all runs of digits in a text that are as long as a number."""
    return _NUMBER.findall(text)


@functools.lru_cache(maxsize=8)  # a process has one configuration
def _kept_or_number(hosts: frozenset[str]) -> re.Pattern[str]:
    """Return the pattern of phone numbers; before them it finds hosts, dates and ids, which are kept."""
    names = "|".join(map(re.escape, sorted(hosts, key=len, reverse=True)))
    if not names:
        return _KEPT_OR_NUMBER
    host = rf"(?<![\w.-]) (?i:{names}) (?! [\w-] | \.\w)"
    return re.compile(f"{host} | {_KEPT_OR_NUMBER.pattern}", re.VERBOSE)


def _spellings(number: str) -> re.Pattern[str]:
    """Return what finds a number with all its digits, or with some of the first missing."""
    optional = "".join(f"(?:{digit}{_BETWEEN})?" for digit in number[:-_FEWEST])
    return re.compile(rf"\+?{optional}{_BETWEEN.join(number[-_FEWEST:])}")


def _digits(text: str) -> str:
    return _NO_DIGIT.sub("", text)


def _kept_or_masked(found: re.Match[str]) -> str:
    return found[0] if found["number"] is None else mask_number(found[0])


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
