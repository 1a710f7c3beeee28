"""Restart policy of a supervisor, for processes that exit unexpectedly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

#: The exit code for an invalid configuration or a wrong ledger (sysexits.h).
EX_CONFIG = 78
#: Seconds until the restart after the first exit, and the maximum.
FIRST_BACKOFF = 0.5
MAX_BACKOFF = 30.0
#: Seconds after which a process counts as healthy, so that the back-off starts from its first value.
WELL = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Replace:
    """Restart the process."""

    #: Seconds until the restart.
    pause: float
    #: Consecutive early exits, including this one.
    deaths: int


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Stop all processes, with this exit code."""

    code: int


Consequence: TypeAlias = Replace | End


def after_exit(code: int, *, lived: float, deaths: int) -> Consequence:
    """Return the consequence of an exit with `code` after `lived` seconds and `deaths` consecutive early exits.

    =====================  ===  ==  ==  ==  ==  ==  ==========
    early exit               1   2   3   4   5   6  7 and more
    seconds until restart  0.5   1   2   4   8  16  30
    =====================  ===  ==  ==  ==  ==  ==  ==========
    """
    if code == EX_CONFIG:
        # A new process would find the same, and so will the others.
        return End(code=code)
    deaths = 1 if lived >= WELL else deaths + 1
    # Bounded before the power is computed: months have many exits.
    doublings = min(deaths - 1, 10)
    return Replace(pause=min(FIRST_BACKOFF * 2**doublings, MAX_BACKOFF), deaths=deaths)
