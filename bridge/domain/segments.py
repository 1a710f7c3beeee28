"""How many SMS a text takes, counted as the handset's standard counts: 3GPP TS 23.038 (alphabets) and 23.040.

The provider cuts long messages itself (wire reference 4.1); this tells consumers what they will pay for.
National language shift tables are not counted with: they need a header that the API can't ask for.
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
#: TS 23.038 section 6.2.1.1, the extension table: an escape and a septet each.
_EXTENSION = "\f^{}\\[~]|€"

#: The characters that a message of septets can have.
GSM_CHARACTERS = frozenset(_BASIC + _EXTENSION)

_GSM_7 = re.compile(f"[{re.escape(_BASIC + _EXTENSION)}]*")
_ESCAPED = re.compile(f"[{re.escape(_EXTENSION)}]")
_BEYOND_UCS_2 = re.compile("[\U00010000-\U0010ffff]")

#: Units (septets, UTF-16 code units) in a message of its own, and in a part of a longer one, where the header that
#: joins the parts takes six octets: 140 octets are 160 septets or 70 code units, 134 are 153 or 67.
_CAPACITY: dict[Encoding, tuple[int, int]] = {"GSM-7": (160, 153), "UCS-2": (70, 67)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """What a text takes on the air."""

    encoding: Encoding
    #: Septets or UTF-16 code units, without headers and without what is left free at the end of a part.
    units: int
    #: Parts it is sent in; an empty text takes one too.
    count: int


def count_segments(text: str) -> Segments:
    """Return how `text` is encoded and cut; neither an escape nor a surrogate is ever cut off from its partner."""
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
    """Fill parts of `capacity` units one after the other; what does not fit whole begins the next."""
    parts, used = 1, 0
    for width in widths:
        if used + width > capacity:
            parts, used = parts + 1, 0
        used += width
    return parts
