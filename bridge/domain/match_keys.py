"""Match keys: hashes of destination and text by which submissions and messages are matched.

The text is hashed in its normal form (`normal_form`):

- no blanks, line ends, control characters, zero-width characters, byte order mark or variation selectors
- HTML entities replaced with their characters
- compatibility forms decomposed (Unicode's NFKD), without combining accents
- the substitutes of the GSM alphabet (3GPP TS 23.038): straight quotes, hyphens, plain letters
"""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.domain.evidence import Evidence

#: Characters. A longer text is not an SMS. Normalization takes quadratic time for a run of combining marks: 20 ms for
#: this length, 15 s for the longest command.
LONGEST_TEXT = 4_000
#: An ampersand that was escaped for HTML any number of times. It is unescaped in one step, since a pass for each level
#: would take quadratic time.
_AMPERSAND = re.compile(r"&(?:amp;?|#0*38(?:;|(?![0-9]))|#[xX]0*26(?:;|(?![0-9A-Fa-f])))+")
#: Passes over a text after that. A gateway's escapes need one; only a crafted text needs more than a few.
_MOST_PASSES = 10
#: The first bytes of a match key, for the destination; the others are for the text.
_DESTINATION = 16

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
    # The alphabet of 3GPP TS 23.038 has only the capital, and gateways write it for both.
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
#: Greek capitals that look like Latin ones: the GSM alphabet has only the others, and no small letters.
_GREEK = dict(
    zip(
        (0x391, 0x392, 0x395, 0x396, 0x397, 0x399, 0x39A, 0x39C, 0x39D, 0x39F, 0x3A1, 0x3A4, 0x3A5, 0x3A7),
        "ABEZHIKMNOPTYX",
        strict=True,
    )
)
#: Invisible characters that Unicode does not count as blanks, control or format characters.
_INKLESS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")


def match_key(destination_address: str, text: str) -> bytes:
    """Return the key of all submissions that one message in the history may belong to, from any sender."""
    return destination_key(destination_address) + text_key(text)


def match_key_of(message: Evidence) -> bytes:
    """Return the match key of a message."""
    return destination_key(message.destination_address) + message.text_key


def destination_key(address: str) -> bytes:
    """Return the first part of the match keys of all submissions to an address."""
    return hashlib.sha256(address.encode()).digest()[:_DESTINATION]


def destination_of(key: bytes) -> bytes:
    """Return the first part of a match key, which stands for the destination."""
    return key[:_DESTINATION]


def normal_form(text: str) -> str:
    """Return a text without the changes that gateways make; unchanged if longer than `LONGEST_TEXT`."""
    if len(text) > LONGEST_TEXT:
        return text
    if "&" in text:
        text = _unescaped(text)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    plain = text.translate(_SPELLINGS)
    return re.sub("--+", "-", plain) if "--" in plain else plain


def text_key(text: str) -> bytes:
    """Return the hash of a text's normal form: 32 bytes."""
    # Cached, since a claim and its answer need the same key; longer texts would take too much memory.
    return _normal_key(text) if len(text) <= LONGEST_TEXT else _digest(text)


@lru_cache(maxsize=256)
def _normal_key(text: str) -> bytes:
    return _digest(normal_form(text))


def content_key(text: str) -> bytes:
    """Return the hash of the `plain` form of a text."""
    return _digest(plain(text))


def plain(text: str) -> str:
    """Return a text in NFC, with plain line feeds and without outer blanks; no NFC beyond `LONGEST_TEXT`."""
    normal = text if len(text) > LONGEST_TEXT else unicodedata.normalize("NFC", text)
    return normal.replace("\r\n", "\n").replace("\r", "\n").strip()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _unescaped(text: str) -> str:
    for _ in range(_MOST_PASSES):
        before, text = text, html.unescape(_AMPERSAND.sub("&", text))
        if text == before:
            break
    return text


class _Spellings(dict[int, str | None]):
    """A cache of the spelling of each code point in a normal form."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        parts = _SUBSTITUTES.get(character) or unicodedata.normalize("NFKD", character)
        # None rather than "": `str.translate` is ten times as fast with it for an ASCII text.
        spelling = "".join(map(_spelling, parts)) or None
        if len(self) < _MOST_KNOWN:
            self[code] = spelling
        return spelling


#: The maximum number of code points in the cache: more than any mix of scripts in use.
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
    is_combining = (
        "\u0300" <= character <= "\u036f" or "\ufe00" <= character <= "\ufe0f" or character >= "\U000e0000"
    )
    return (is_combining and character < "\U000f0000") or unicodedata.category(character) in {
        "Cc",
        "Cf",
        "Zl",
        "Zp",
        "Zs",
    }


_SPELLINGS = _Spellings()
for _code in range(0x80):
    # Fill the cache for ASCII, so that an ASCII text calls no Python function.
    _SPELLINGS[_code]
