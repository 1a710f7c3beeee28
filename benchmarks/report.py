"""The measurements as a table and a picture, for `docs/internals/performance.md`."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DOCUMENT = Path(__file__).parents[1] / "docs" / "internals" / "performance.md"
PICTURE = DOCUMENT.with_name("performance.svg")

#: Pixels.
WIDTH, ROW, BAR, LEFT = 720, 26, 18, 260


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the ratios, run by run: other load on the machine affects both."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def draw(title: str, bars: Mapping[str, float], unit: str) -> str:
    """Return a chart of horizontal bars as SVG."""
    longest = max(bars.values())
    height = ROW * (len(bars) + 1) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" '
        f'font-size="13"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="8" y="18" font-weight="bold">{escape(title)}</text>'
    ]
    for number, (name, value) in enumerate(bars.items(), start=1):
        top = ROW * number + 4
        length = (WIDTH - LEFT - 110) * value / longest
        colour = "#1f6feb" if name.startswith("Bridge") else "#9aa4b2"
        parts.append(
            f'<text x="8" y="{top + 13}">{escape(name)}</text>'
            f'<rect x="{LEFT}" y="{top}" width="{length:.0f}" height="{BAR}" fill="{colour}"/>'
            f'<text x="{LEFT + length + 6:.0f}" y="{top + 13}">{value:.2f} {escape(unit)}</text>'
        )
    return "".join(parts) + "</svg>\n"
