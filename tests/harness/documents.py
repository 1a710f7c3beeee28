"""Putting what was measured into the papers that report it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    rule = ["---"] * len(head)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [list(head), rule, *lines]) + "\n"


def write(document: Path, name: str, text: str) -> None:
    """Put `text` between the two marks of `name` in a paper.

    Raises:
        ValueError: the paper has no such place.

    """
    begin, end = f"<!-- {name}: measured -->\n", f"<!-- {name}: end -->"
    before, _, rest = document.read_text().partition(begin)
    _, _, after = rest.partition(end)
    if not rest or end not in rest:
        raise ValueError(f"{document.name} has no place for {name}")
    document.write_text(f"{before}{begin}{text}{end}{after}")
