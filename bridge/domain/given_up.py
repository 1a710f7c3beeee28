"""The broker's reason for giving up a command, from untrusted headers."""

from __future__ import annotations

import re

#: RabbitMQ's reasons are short words (RabbitMQ documentation, "Dead Letter Exchanges").
_REASON = re.compile("[a-z_]{1,40}")


def reason_word(given: object) -> str:
    """Return the reason if it has the broker's form, else ``unknown``: any client can write the header."""
    return given if isinstance(given, str) and _REASON.fullmatch(given) else "unknown"
