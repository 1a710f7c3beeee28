"""What expressions in PromQL ask for: the names of metrics, and the labels that they choose by."""

from __future__ import annotations

import re
from typing import NamedTuple

#: A name with what stands in its braces, if any. Ours, and those of the Prometheus client, begin like this.
_SELECTOR = re.compile(r"\b((?:sms_bridge|process)_[a-z_]+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"')
#: Labels that Prometheus gives, or a supervisor.
FOREIGN = frozenset({"instance", "job", "process"})


class Selector(NamedTuple):
    """A metric that is asked for, and the values that its labels are to have, or not to have."""

    name: str
    labels: tuple[tuple[str, str], ...]


def selectors(expression: str) -> list[Selector]:
    """Return what an expression asks for, without the labels that are not ours."""
    return [
        Selector(
            name,
            tuple((label, value) for label, _, value in _MATCHER.findall(braces) if label not in FOREIGN),
        )
        for name, braces in _SELECTOR.findall(expression)
    ]
