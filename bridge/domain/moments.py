"""Parser of the times in commands."""

from __future__ import annotations

import re
from datetime import UTC, datetime

#: RFC 3339 section 5.6: a date, a time and an offset, none of them optional.
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:)(\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)


def parse_rfc3339(text: str) -> float | None:
    """Return the seconds since the epoch of an RFC 3339 time; None for any other text."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    date, minutes, seconds, fraction, offset = match.groups()
    # Leap seconds are valid (RFC 3339 section 5.7); Python does not have them.
    seconds = "59" if seconds == "60" else seconds
    fraction = (fraction or ".0")[:7]
    try:
        parsed = datetime.fromisoformat(f"{date}T{minutes}{seconds}{fraction}{offset.upper()}")
        return parsed.astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return None
