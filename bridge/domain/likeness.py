"""Likeness of texts: whether a gateway may show one text as another.

Gateways alter texts. Two texts are alike if they are equal, if their *normal forms* are equal
(`bridge.domain.match_keys`: it undoes the known changes), or if one *may show* the other: it lacks characters that a
gateway can't encode, or the end. All other texts differ.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

from bridge.domain.match_keys import LONGEST_TEXT, normal_form
from bridge.domain.segments import GSM_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: The minimum length of a normal form, in characters, from which on a prefix of a text counts as the text, cut off.
SHORTEST_CUT = 40
#: The minimum of letters and digits by which an altered text is recognised, and their minimum share of the original.
FEWEST_READABLE = 2
READABLE_SHARE = 1 / 3
#: Characters that a gateway writes in place of one that it can't encode.
_REPLACEMENTS = "?\u00bf\ufffd\u25a1"
_REPLACED = re.compile(f"[{_REPLACEMENTS}]+")
#: Characters that cutting a text adds, or leaves of a multi-byte character, and the rest of an entity that was cut.
_CUT_SIGNS = ".?\u2026\ufffd"
_CUT_ENTITY = re.compile(r"&#?[0-9A-Za-z]{0,8}\Z")
_READABLE = re.compile("[0-9A-Za-z]")


class Original:
    """A text as it was submitted to a gateway. Its forms are computed on first use."""

    def __init__(self, text: str) -> None:
        self._text = text

    def may_show_as(self, shown: str) -> bool:
        """Whether a gateway that lacks characters or cuts texts off may show it as `shown`.

        Enough of the text must remain to distinguish it from others.
        """
        if max(len(shown), len(self._text)) > LONGEST_TEXT:
            return False
        return any(self._may_be(decoded) for decoded in _decodings(shown))

    def may_be_left_as(self, shown: str) -> bool:
        """Whether a gateway that lacks characters may show it as `shown`, regardless of how little of it remains."""
        if max(len(shown), len(self._text)) > LONGEST_TEXT:
            return False
        forms = [_marked(normal_form(decoded)) for decoded in _decodings(shown)]
        return any(_is_left(form, own, whole) for form in forms for own, whole in self._forms)

    def _may_be(self, shown: str) -> bool:
        if shown.strip() in self._replaced_one_by_one and len(_READABLE.findall(shown)) >= FEWEST_READABLE:
            return True
        stem = _marked(normal_form(_CUT_ENTITY.sub("", shown.rstrip(_CUT_SIGNS))))
        form = _marked(normal_form(shown))
        return any(
            (_is_readable(own, whole) and _is_left(form, own, whole))
            or (len(stem) >= SHORTEST_CUT and own.startswith(stem))
            for own, whole in self._forms
        )

    @cached_property
    def _forms(self) -> list[tuple[str, str]]:
        """Pairs of the normal form as an alphabet leaves it, and the whole normal form."""
        whole = _marked(normal_form(self._text))
        left = {_marked(normal_form(_replaced(self._text, can_encode))) for can_encode in _ALPHABETS}
        return [(form, whole) for form in {whole, _marked(_replaced(whole, str.isascii)), *left}]

    @cached_property
    def _replaced_one_by_one(self) -> set[str]:
        """The text with one replacement for each character that an alphabet lacks."""
        return {
            _replaced(self._text, can_encode, units=units).strip()
            for can_encode in _ALPHABETS
            for units in (False, True)
        }


def _decodings(shown: str) -> Iterator[str]:
    """Yield a text, and the text that it is if its UTF-8 was decoded with another encoding."""
    yield shown
    for encoding in () if shown.isascii() else ("latin-1", "cp1252"):
        try:
            yield shown.encode(encoding).decode()
        except UnicodeError:
            continue


def _replaced(text: str, can_encode: Callable[[str], bool], *, units: bool = False) -> str:
    """Return `text` in an alphabet, with a replacement for each missing character, or for each UTF-16 unit of it."""
    return "".join(
        character if can_encode(character) else "??" if units and character > "\uffff" else "?"
        for character in text
    )


def _marked(form: str) -> str:
    """Return a form with one `?` for each run of replacements, since gateways differ in their number."""
    return _REPLACED.sub("?", form)


def _dropped(form: str) -> str:
    return form.replace("?", "")


def _is_left(form: str, own: str, whole: str) -> bool:
    """Whether `form` is `own`, `whole` in an alphabet, with or without replacements for the lost characters."""
    return form == own or (whole != own and _dropped(form) == _dropped(own))


def _is_readable(form: str, whole: str) -> bool:
    """Whether enough of a text remains to distinguish it from others."""
    readable = len(_READABLE.findall(form))
    return readable >= FEWEST_READABLE and readable >= len(whole) * READABLE_SHARE


_ALPHABETS: tuple[Callable[[str], bool], ...] = (
    str.isascii,
    lambda character: character <= "\xff",
    GSM_CHARACTERS.__contains__,
    lambda character: character <= "\uffff",
)
