"""What follows the end of one of several processes that nobody asked to end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

#: The exit code of a process that finds its configuration, or its ledger, not to be its own: as of sysexits.h.
EX_CONFIG = 78
#: Seconds until a process is started again after its first death, and at most.
FIRST_BACKOFF = 0.5
MAX_BACKOFF = 30.0
#: Seconds after which a process counts as well: its next death is a first one again.
WELL = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Replace:
    """Start another one in its place."""

    #: Seconds until then.
    pause: float
    #: How many of them died young in a row, this one included.
    deaths: int


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """End all of them, with this exit code."""

    code: int


Consequence: TypeAlias = Replace | End


def after_exit(code: int, *, lived: float, deaths: int) -> Consequence:
    """Return what follows an exit with `code` of a process that `lived` so many seconds, after `deaths` in a row.

    =====================  ===  ==  ==  ==  ==  ==  ==========
    death in a row           1   2   3   4   5   6  7 and more
    seconds until another  0.5   1   2   4   8  16  30
    =====================  ===  ==  ==  ==  ==  ==  ==========
    """
    if code == EX_CONFIG:
        # Another one would find the same, and so will the others.
        return End(code=code)
    deaths = 1 if lived >= WELL else deaths + 1
    # Bounded before the power is taken: the deaths of months are many.
    doublings = min(deaths - 1, 10)
    return Replace(pause=min(FIRST_BACKOFF * 2**doublings, MAX_BACKOFF), deaths=deaths)
