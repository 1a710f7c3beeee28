"""Failpoints: places where the tests kill or freeze this process.

Nothing happens unless `SMS_BRIDGE_FAILPOINT` names a place: ``name:kill9`` or ``name:freeze``; with ``:n`` appended,
the n-th time that the place is reached. The variable is not a setting: no file has it, and no service sets it.
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

#: In the order of a command: claim, send, record, publish, acknowledge. Then a copy for the delay queues, and a
#: replayed dead letter. Then a notification: before its 204, by broker or spool, and before it is deleted from the
#: spool. Then a receipt: before it is removed from the pending ones.
Place: TypeAlias = Literal[
    "claiming", "claimed", "answered", "looked-up", "recorded", "published",
    "version-begun", "replayed",
    "notification-confirmed", "notification-spooled", "spool-confirmed",
    "receipt-published",
]  # fmt: skip


#: The signal of each action; SIGCONT resumes a frozen process.
ACTIONS: Final = {"kill9": signal.SIGKILL, "freeze": signal.SIGSTOP}


class _Armed(NamedTuple):
    place: str
    action: signal.Signals
    #: The action happens the n-th time that the place is reached.
    nth: int
    reached: Iterator[int]


def reach(place: Place) -> None:
    """Kill or freeze the process if `place` is armed and was reached often enough."""
    armed = _armed()
    if armed is not None and armed.place == place and next(armed.reached) == armed.nth:
        # Signal this thread: if another thread took the signal, this one would run on for a moment.
        signal.pthread_kill(threading.get_ident(), armed.action)


@cache
def _armed() -> _Armed | None:
    """Read the variable once, when the first place is reached."""
    place, _, rest = os.environ.get(VARIABLE, "").partition(":")
    action, _, nth = rest.partition(":")
    return _Armed(place, ACTIONS[action], int(nth or 1), count(1)) if place else None
