"""JSON written many times a second: the encoder is made once, where `json` makes one for each call."""

from __future__ import annotations

import json
from json import encoder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def make_encoder(*, separators: tuple[str, str] = (", ", ": ")) -> Callable[[object, int], Iterable[str]]:
    """Return what gives the pieces of what `json.dumps` with `ensure_ascii=False` writes; its second argument is 0.

    Circles are not looked for: what is written is a tree.
    """
    plain = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=separators)
    make = getattr(encoder, "c_make_encoder", None)
    if make is None:  # another Python than CPython has none
        return lambda value, _: (plain.encode(value),)
    item_separator, key_separator = separators
    # As `json` calls it: sort_keys, skipkeys and allow_nan come last.
    flags = (False, False, True)
    pieces: Callable[[object, int], Iterable[str]] = make(
        None, plain.default, encoder.encode_basestring, None, key_separator, item_separator, *flags
    )
    return pieces
