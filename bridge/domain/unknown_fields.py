"""Fields of a command that it does not have: a mistyped `expiresat` would silently send an old code."""

from __future__ import annotations

import difflib
import itertools
from typing import TYPE_CHECKING

from bridge.domain.masks import mask_numbers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

#: Of one command: names that are shown, and characters of each.
MOST = 10
LONGEST = 50


def unknown_fields(document: Mapping[str, object], known: Collection[str]) -> tuple[str, ...]:
    """Return the names in `document` that are not among `known`, at most `MOST` and fit to be shown."""
    if all(name in known for name in document):
        return ()
    names = itertools.islice((name for name in document if name not in known), MOST)
    return tuple(map(_shown, names))


def reasons(unknown: Iterable[str], known: Collection[str]) -> list[str]:
    """Return why a command with the fields `unknown` is not valid, where that is asked for."""
    return [f'"{name}" is not a field of a command{_meant(name, known)}' for name in unknown]


def _shown(name: str) -> str:
    return mask_numbers(name, limit=LONGEST)


def _meant(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.75)
    return f": did you mean {near[0]}?" if near else ""
