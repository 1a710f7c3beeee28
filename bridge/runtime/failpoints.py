"""Places where the fault suite ends this process as a crash would: no answer, no clean-up, no exit handler.

Nothing happens unless `SMS_BRIDGE_FAILPOINT` names a place: ``name:kill9`` or ``name:kill9:n`` for the n-th time it is
reached. It is no setting: it stands in no file, and no service sets it.
"""

from __future__ import annotations

import os
import signal
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE: Final = "SMS_BRIDGE_FAILPOINT"

#: In the order a command meets them: claim, call, file, tell, settle; then those of a hand-over to the delay.
Place: TypeAlias = Literal["claiming", "claimed", "answered", "looked", "filed", "told", "handed-over"]


class _Armed(NamedTuple):
    place: str
    #: Which time of reaching it ends the process.
    nth: int
    reached: Iterator[int]


def reach(place: Place) -> None:
    """End the process with SIGKILL where `place` is armed and it is its time."""
    armed = _armed()
    if armed is not None and armed.place == place and next(armed.reached) == armed.nth:
        os.kill(os.getpid(), signal.SIGKILL)


@cache
def _armed() -> _Armed | None:
    """Read the variable once, when the first place is reached."""
    place, _, rest = os.environ.get(VARIABLE, "").partition(":")
    action, _, nth = rest.partition(":")
    return _Armed(place, int(nth or 1), count(1)) if action == "kill9" else None
