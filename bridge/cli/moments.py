"""Parsing of times on the command line."""

from __future__ import annotations

from datetime import datetime

import click

#: Seconds.
DAY = 86400
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": DAY}


def moment(_context: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    """Parse a time in RFC 3339, or an age: 90s, 15m, 2h, 7d. Returns seconds since the epoch."""
    from bridge.adapters.clock import SystemClock

    if text is None:
        return None
    if text[:-1].isdecimal() and text[-1] in _UNITS:
        return SystemClock().now() - int(text[:-1]) * _UNITS[text[-1]]
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise click.BadParameter(
            "give a time with an offset, such as 2026-01-31T09:30:00Z, or 15m, 2h, 7d ago"
        )
    return time.timestamp()
