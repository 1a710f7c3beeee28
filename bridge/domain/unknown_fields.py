"""Unknown fields of a command: with a mistyped `expiresat`, an expired code would be sent."""

from __future__ import annotations

import difflib
import itertools
from typing import TYPE_CHECKING

from bridge.domain.masks import mask_numbers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

#: The number of names shown for one command, and the characters of each.
MOST = 10
LONGEST = 50


def unknown_fields(document: Mapping[str, object], known: Collection[str]) -> tuple[str, ...]:
    """Return at most `MOST` names in `document` that are not in `known`, masked for logs."""
    if all(name in known for name in document):
        return ()
    names = itertools.islice((name for name in document if name not in known), MOST)
    return tuple(map(_shown, names))


def reasons(unknown: Iterable[str], known: Collection[str]) -> list[str]:
    """Return the reasons against the fields `unknown`, for the setting that rejects them."""
    return [f'"{name}" is not a field of a command{_meant(name, known)}' for name in unknown]


def _shown(name: str) -> str:
    return mask_numbers(name, limit=LONGEST)


def _meant(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.75)
    return f": did you mean {near[0]}?" if near else ""
