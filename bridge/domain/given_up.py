"""Why the broker has given a command up, as far as its headers can be believed."""

from __future__ import annotations

import re

#: RabbitMQ's reasons are short words (its documentation, "Dead Letter Exchanges").
_REASON = re.compile("[a-z_]{1,40}")


def reason_word(given: object) -> str:
    """Return a reason that the broker may have given; ``unknown`` for everything else: a stranger has written it."""
    return given if isinstance(given, str) and _REASON.fullmatch(given) else "unknown"
