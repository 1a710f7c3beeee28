"""How alike two texts are, since a gateway may show a message otherwise than it was given.

Three steps: two texts are equal; or equal in their *normal form* (`bridge.domain.match_keys`), which undoes what
gateways are known to change; or
one *may show* the other, which has lost characters that a gateway can't encode, or its end. Any other two differ.

"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

from bridge.domain.match_keys import LONGEST_TEXT, normal_form
from bridge.domain.segments import GSM_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Characters of a normal form from which on a text that is the beginning of another one can be what is left of it.
SHORTEST_CUT = 40
#: Letters and digits that must be left of a text for it to be known again, and the share of it that they must be.
FEWEST_READABLE = 2
READABLE_SHARE = 1 / 3
#: Characters that a gateway writes for one that it can't encode.
_REPLACEMENTS = "?\u00bf\ufffd\u25a1"
_REPLACED = re.compile(f"[{_REPLACEMENTS}]+")
#: Marks that a cut adds, or leaves of a character, and the rest of a cut entity.
_CUT_SIGNS = ".?\u2026\ufffd"
_CUT_ENTITY = re.compile(r"&#?[0-9A-Za-z]{0,8}\Z")
_READABLE = re.compile("[0-9A-Za-z]")


class Original:
    """A text as it was given to a gateway. Its forms are made when they are first needed."""

    def __init__(self, text: str) -> None:
        self._text = text

    def may_show_as(self, shown: str) -> bool:
        """Whether a gateway may have made `shown` of it that can't encode every character, or cuts texts off.

        Enough of it is left to distinguish it from others.
        """
        if max(len(shown), len(self._text)) > LONGEST_TEXT:
            return False
        return any(self._may_be(reading) for reading in _readings(shown))

    def may_be_left_as(self, shown: str) -> bool:
        """Whether `shown` may be what is left of it where a gateway can't encode characters, however little that is."""
        if max(len(shown), len(self._text)) > LONGEST_TEXT:
            return False
        forms = [_marked(normal_form(reading)) for reading in _readings(shown)]
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
        """Its normal form as each alphabet leaves it, and the whole one."""
        whole = _marked(normal_form(self._text))
        left = {_marked(normal_form(_replaced(self._text, can_encode))) for can_encode in _ALPHABETS}
        return [(form, whole) for form in {whole, _marked(_replaced(whole, str.isascii)), *left}]

    @cached_property
    def _replaced_one_by_one(self) -> set[str]:
        """The text with a replacement for each character that an alphabet lacks, and for no other one."""
        return {
            _replaced(self._text, can_encode, units=units).strip()
            for can_encode in _ALPHABETS
            for units in (False, True)
        }


def _readings(shown: str) -> Iterator[str]:
    """Yield a text, and the text if its UTF-8 was read in another encoding."""
    yield shown
    for encoding in () if shown.isascii() else ("latin-1", "cp1252"):
        try:
            yield shown.encode(encoding).decode()
        except UnicodeError:
            continue


def _replaced(text: str, can_encode: Callable[[str], bool], *, units: bool = False) -> str:
    """Return `text` as an alphabet has it, with one replacement for a character, or one for each UTF-16 unit of it."""
    return "".join(
        character if can_encode(character) else "??" if units and character > "\uffff" else "?"
        for character in text
    )


def _marked(form: str) -> str:
    """Return a form with one mark for each run of replacements: how many there are differs between gateways."""
    return _REPLACED.sub("?", form)


def _dropped(form: str) -> str:
    return form.replace("?", "")


def _is_left(form: str, own: str, whole: str) -> bool:
    """Whether `form` is `own`, as an alphabet leaves `whole`, with or without marks for the lost characters."""
    return form == own or (whole != own and _dropped(form) == _dropped(own))


def _is_readable(form: str, whole: str) -> bool:
    """Whether enough is left of a text to tell it from others."""
    readable = len(_READABLE.findall(form))
    return readable >= FEWEST_READABLE and readable >= len(whole) * READABLE_SHARE


_ALPHABETS: tuple[Callable[[str], bool], ...] = (
    str.isascii,
    lambda character: character <= "\xff",
    GSM_CHARACTERS.__contains__,
    lambda character: character <= "\uffff",
)
