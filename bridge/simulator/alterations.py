"""How a gateway may alter a text before it shows it in the history and in notifications; each has a name."""

from __future__ import annotations

import html
import re
import unicodedata
from typing import TYPE_CHECKING

from bridge.domain.segments import GSM_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_QUOTES = str.maketrans("\u2018\u2019\u201a\u201c\u201d\u201e", "'''\"\"\"")
_DASHES = re.compile("[\u2010-\u2015\u2212]")
_ZERO_WIDTH = re.compile("[\u200b-\u200f\u2060]")
#: The length that `cut` leaves, in characters.
CUT_AT = 150


def _kept(is_kept: Callable[[str], bool], instead: str) -> Callable[[str], str]:
    return lambda text: "".join(character if is_kept(character) else instead for character in text)


def _without_accents(text: str) -> str:
    return re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFD", text))


def _is_bmp(character: str) -> bool:
    return character <= "\uffff"


ALTERATIONS: Mapping[str, Callable[[str], str]] = {
    "no-break-spaces": lambda text: text.replace("\u00a0", " "),
    "quotes": lambda text: text.translate(_QUOTES),
    "zero-width": lambda text: _ZERO_WIDTH.sub("", text),
    "spaces": lambda text: re.sub(" +", " ", text),
    "tabs": lambda text: text.replace("\t", " "),
    "cut": lambda text: text[:CUT_AT],
    "entities": lambda text: html.escape(text, quote=False),
    "nfkc": lambda text: unicodedata.normalize("NFKC", text),
    "emoji": _kept(_is_bmp, "?"),
    "controls": _kept(lambda character: character == "\n" or unicodedata.category(character) != "Cc", ""),
    "line-separators": lambda text: text.replace("\u2028", "\n"),
    "byte-order-mark": lambda text: text.replace("\ufeff", ""),
    "backticks": lambda text: text.replace("`", "'"),
    "dashes": lambda text: _DASHES.sub("-", text),
    "ellipsis": lambda text: text.replace("\u2026", "..."),
    "accents": _without_accents,
    "capitals": lambda text: text.replace("\u00e7", "\u00c7"),
    "all-entities": lambda text: html.escape(html.escape(text, quote=True), quote=True),
    "one-line": lambda text: " ".join(text.split()),
    "no-emoji": _kept(_is_bmp, ""),
    "two-marks": _kept(_is_bmp, "??"),
    "ascii": _kept(str.isascii, "?"),
    "gsm": _kept(GSM_CHARACTERS.__contains__, "?"),
    "latin-1": lambda text: text.encode("utf-8", "replace").decode("latin-1"),
    "hidden": lambda _: "[hidden]",
    "reversed": lambda text: text[::-1],
}


def alter(text: str, name: str | None) -> str:
    """Return `text` after the alteration `name`; without a name it is unchanged."""
    return text if name is None else ALTERATIONS[name](text)


def known(name: str | None) -> str | None:
    """Return `name`.

    Raises:
        ValueError: no alteration has this name.

    """
    if name is not None and name not in ALTERATIONS:
        raise ValueError(f"must be one of {', '.join(ALTERATIONS)}")
    return name
