"""Places where the tests end this process as a crash would, or freeze it as a machine in trouble would.

Nothing happens unless `SMS_BRIDGE_FAILPOINT` names a place: ``name:kill9`` or ``name:freeze``, and with ``:n`` behind
it the n-th time it is reached. It is no setting: it stands in no file, and no service sets it.
"""

from __future__ import annotations

import os
import signal
import threading
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE: Final = "SMS_BRIDGE_FAILPOINT"

#: In the order a command meets them: claim, send, record, publish, acknowledge; then those of a copy that goes to the
#: delay queues, and of a dead letter that is replayed; then those of a notification: before its 204, by broker or
#: spool, and before it is taken out of the spool; then that of a receipt: before it is awaited no longer.
Place: TypeAlias = Literal[
    "claiming", "claimed", "answered", "looked-up", "recorded", "published",
    "version-begun", "replayed",
    "notification-confirmed", "notification-spooled", "spool-confirmed",
    "receipt-published",
]  # fmt: skip


#: What happens there; a frozen process goes on with SIGCONT.
ACTIONS: Final = {"kill9": signal.SIGKILL, "freeze": signal.SIGSTOP}


class _Armed(NamedTuple):
    place: str
    action: signal.Signals
    #: Which time of reaching it counts.
    nth: int
    reached: Iterator[int]


def reach(place: Place) -> None:
    """End or freeze the process where `place` is armed and it is its time."""
    armed = _armed()
    if armed is not None and armed.place == place and next(armed.reached) == armed.nth:
        # To this thread: where another one takes it, this one goes on for a moment, and is not frozen at its place.
        signal.pthread_kill(threading.get_ident(), armed.action)


@cache
def _armed() -> _Armed | None:
    """Read the variable once, when the first place is reached."""
    place, _, rest = os.environ.get(VARIABLE, "").partition(":")
    action, _, nth = rest.partition(":")
    return _Armed(place, ACTIONS[action], int(nth or 1), count(1)) if place else None
