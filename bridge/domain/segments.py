"""Counter of SMS segments by 3GPP TS 23.038 (alphabets) and 23.040.

The provider splits long messages itself (wire reference 4.1); the count shows consumers what they pay for. National
language shift tables are not considered, since they require a header that the API does not offer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

Encoding: TypeAlias = Literal["GSM-7", "UCS-2"]

#: TS 23.038 section 6.2.1, the default alphabet without its escape (0x1B).
_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
#: TS 23.038 section 6.2.1.1, the extension table: each character takes an escape and a septet.
_EXTENSION = "\f^{}\\[~]|€"

#: The characters of a GSM-7 message.
GSM_CHARACTERS = frozenset(_BASIC + _EXTENSION)

_GSM_7 = re.compile(f"[{re.escape(_BASIC + _EXTENSION)}]*")
_ESCAPED = re.compile(f"[{re.escape(_EXTENSION)}]")
_BEYOND_UCS_2 = re.compile("[\U00010000-\U0010ffff]")

#: Units (septets, UTF-16 code units) of a single message, and of a segment of a longer one, whose header takes six
#: octets: 140 octets are 160 septets or 70 code units, 134 are 153 or 67.
_CAPACITY: dict[Encoding, tuple[int, int]] = {"GSM-7": (160, 153), "UCS-2": (70, 67)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """The encoding and the size of a text."""

    encoding: Encoding
    #: Septets or UTF-16 code units, without headers and without unused units at the end of a segment.
    units: int
    #: Segments; an empty text takes one too.
    count: int


def count_segments(text: str) -> Segments:
    """Return the encoding and the segments of `text`; a split never separates an escape or a surrogate pair."""
    encoding: Encoding = "GSM-7" if _GSM_7.fullmatch(text) else "UCS-2"
    double = _ESCAPED if encoding == "GSM-7" else _BEYOND_UCS_2
    doubles = len(double.findall(text))
    units = len(text) + doubles
    whole, part = _CAPACITY[encoding]
    if units <= whole:
        count = 1
    elif not doubles:
        count = -(-units // part)
    else:
        count = _cut((2 if double.match(character) else 1 for character in text), part)
    return Segments(encoding=encoding, units=units, count=count)


def _cut(widths: Iterable[int], capacity: int) -> int:
    """Count the segments of `capacity` units; a character that does not fit begins the next one."""
    parts, used = 1, 0
    for width in widths:
        if used + width > capacity:
            parts, used = parts + 1, 0
        used += width
    return parts
