"""How alike two texts are, since a gateway may show a message otherwise than it was given.

Three steps: two texts are equal; or equal in their *normal form*, which undoes what gateways are known to change; or
one *may show* the other, which has lost characters that a gateway can't encode, or its end. Any other two differ.

The normal form of a text (`normal_form`) has
    no blanks, line ends, control characters, zero-width characters, byte order mark or variation selectors
    no HTML entities: the characters that they stand for
    compatibility forms decomposed (Unicode's NFKD), and no combining accents
    the substitutes that a GSM alphabet has (3GPP TS 23.038): straight quotes, hyphens, plain letters
"""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from bridge.domain.segments import GSM_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Characters; what is longer is no SMS. To normalize takes the square of a run of combining marks: for these 20 ms, for
#: a whole command of them a quarter of a minute.
LONGEST_TEXT = 4_000
#: Characters of a normal form from which on a text that is the beginning of another one can be what is left of it.
SHORTEST_CUT = 40
#: Letters and digits that must be left of a text for it to be known again, and the share of it that they must be.
FEWEST_READABLE = 2
READABLE_SHARE = 1 / 3
#: An ampersand that was escaped for HTML any number of times: undone at once, since a pass for each level takes the
#: square of its length.
_AMPERSAND = re.compile(r"&(?:amp;?|#0*38(?:;|(?![0-9]))|#[xX]0*26(?:;|(?![0-9A-Fa-f])))+")
#: Passes over a text beyond that. A gateway's escapes need one; only a text that was made to needs more than a few.
_MOST_PASSES = 10
#: Characters that a gateway writes for one that it can't encode.
_REPLACEMENTS = "?\u00bf\ufffd\u25a1"
_REPLACED = re.compile(f"[{_REPLACEMENTS}]+")
#: Marks that a cut adds, or leaves of a character, and the rest of a cut entity.
_CUT_MARKS = ".?\u2026\ufffd"
_CUT_ENTITY = re.compile(r"&#?[0-9A-Za-z]{0,8}\Z")
_READABLE = re.compile("[0-9A-Za-z]")

_SPELLED = {
    "'": "`\u00b4\u2018\u2019\u201a\u201b\u2032\u2035\u02b9\u02bb\u02bc\u02c8\u2039\u203a",
    '"': "\u201c\u201d\u201e\u201f\u2033\u2036\u00ab\u00bb\u301d\u301e\u301f",
    "-": "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043\ufe58\ufe63",
    "*": "\u2022\u00b7\u2027\u2219\u25cf\u25e6",
    "/": "\u2044\u2215",
    "o": "\u00f8",
    "O": "\u00d8",
    "l": "\u0142",
    "L": "\u0141",
    "d": "\u0111\u00f0",
    "D": "\u0110\u00d0",
    "h": "\u0127",
    "H": "\u0126",
    "i": "\u0131",
    # The alphabet of 3GPP TS 23.038 has the capital alone, and gateways write it for both.
    "c": "\u00c7",
    "ss": "\u00df",
    "ae": "\u00e6",
    "AE": "\u00c6",
    "oe": "\u0153",
    "OE": "\u0152",
    "th": "\u00fe",
    "TH": "\u00de",
}
_SUBSTITUTES = {one: plain for plain, others in _SPELLED.items() for one in others}
#: Greek capitals that look like Latin ones: the alphabet has only the others, and no small letters.
_GREEK = dict(
    zip(
        (0x391, 0x392, 0x395, 0x396, 0x397, 0x399, 0x39A, 0x39C, 0x39D, 0x39F, 0x3A1, 0x3A4, 0x3A5, 0x3A7),
        "ABEZHIKMNOPTYX",
        strict=True,
    )
)
#: Characters without ink that Unicode does not count among blanks, controls or format characters.
_INKLESS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")


def normal_form(text: str) -> str:
    """Return what is left of a text when all is undone that gateways change; as it is beyond `LONGEST_TEXT`."""
    if len(text) > LONGEST_TEXT:
        return text
    if "&" in text:
        text = _unescaped(text)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    plain = text.translate(_SPELLINGS)
    return re.sub("--+", "-", plain) if "--" in plain else plain


def text_key(text: str) -> bytes:
    """Return what all texts with one normal form share, and no others: 32 bytes."""
    # A claim and its answer ask for the same text; what is longer would take too much memory.
    return _normal_key(text) if len(text) <= LONGEST_TEXT else _digest(text)


@lru_cache(maxsize=256)
def _normal_key(text: str) -> bytes:
    return _digest(normal_form(text))


def content_key(text: str) -> bytes:
    """Return what two spellings of one text share, as a hash of `plain`."""
    return _digest(plain(text))


def plain(text: str) -> str:
    """Return what two spellings of one text share: NFC, line ends and outer blanks aside; see `LONGEST_TEXT`."""
    normal = text if len(text) > LONGEST_TEXT else unicodedata.normalize("NFC", text)
    return normal.replace("\r\n", "\n").replace("\r", "\n").strip()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


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
        stem = _marked(normal_form(_CUT_ENTITY.sub("", shown.rstrip(_CUT_MARKS))))
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


def _unescaped(text: str) -> str:
    for _ in range(_MOST_PASSES):
        before, text = text, html.unescape(_AMPERSAND.sub("&", text))
        if text == before:
            break
    return text


class _Spellings(dict[int, str | None]):
    """What stands in a normal form for each character, by its code point: found out once for each that comes."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        parts = _SUBSTITUTES.get(character) or unicodedata.normalize("NFKD", character)
        # None, as Python drops it from a plain text ten times as fast as for "".
        spelling = "".join(map(_spelling, parts)) or None
        if len(self) < _MOST_KNOWN:
            self[code] = spelling
        return spelling


#: Code points that are remembered: more than any mix of scripts that is in use.
_MOST_KNOWN = 50_000


def _spelling(character: str) -> str:
    if character in _SUBSTITUTES:
        return _SUBSTITUTES[character]
    if character.isspace() or character in _INKLESS or _is_format(character):
        return ""
    if "\u0370" <= character <= "\u03ff":
        return character.upper().translate(_GREEK)
    return character


def _is_format(character: str) -> bool:
    """Whether it is a control or format character, a combining accent or a variation selector."""
    is_mark = (
        "\u0300" <= character <= "\u036f" or "\ufe00" <= character <= "\ufe0f" or character >= "\U000e0000"
    )
    return (is_mark and character < "\U000f0000") or unicodedata.category(character) in {
        "Cc",
        "Cf",
        "Zl",
        "Zp",
        "Zs",
    }


_SPELLINGS = _Spellings()
for _code in range(0x80):
    # So that a plain text meets no function of Python's.
    _SPELLINGS[_code]

_ALPHABETS: tuple[Callable[[str], bool], ...] = (
    str.isascii,
    lambda character: character <= "\xff",
    GSM_CHARACTERS.__contains__,
    lambda character: character <= "\uffff",
)
