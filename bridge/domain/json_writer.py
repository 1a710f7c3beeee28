"""Reusable JSON encoder for thousands of calls per second; `json` makes an encoder for each call."""

from __future__ import annotations

import json
from json import encoder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def make_encoder(*, separators: tuple[str, str] = (", ", ": ")) -> Callable[[object, int], Iterable[str]]:
    """Return a function that yields the pieces of `json.dumps(..., ensure_ascii=False)`; its second argument is 0.

    It does not check for cycles: the values are trees.
    """
    plain = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=separators)
    make = getattr(encoder, "c_make_encoder", None)
    if make is None:  # only CPython has it
        return lambda value, _: (plain.encode(value),)
    item_separator, key_separator = separators
    # The order of `json`: sort_keys, skipkeys and allow_nan come last.
    flags = (False, False, True)
    pieces: Callable[[object, int], Iterable[str]] = make(
        None, plain.default, encoder.encode_basestring, None, key_separator, item_separator, *flags
    )
    return pieces
