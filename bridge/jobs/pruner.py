"""Has the ledger forget, about once an hour, what it need not remember any longer."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

import structlog

from bridge.ports import LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.ports import Clock

#: Seconds between two rounds, and between two transactions of one: whoever sends goes first.
ROUND = 3600.0
PAUSE = 0.5
#: Seconds by which the wall clock may gain on the steady one. One that is set years ahead by mistake must not have the
#: ledger forget what no copy of a command may find forgotten; a machine that slept prunes later.
GAIN = 86400.0


class Pruner:
    """Prunes on a thread of its own, a little at a time."""

    def __init__(
        self,
        prune: Callable[[float], int],
        retention: float,
        clock: Clock,
        *,
        what: str = "commands",
        every: float = ROUND,
        pause: float = PAUSE,
    ) -> None:
        """`prune` forgets some of what is older than a time and returns how much; `retention` is in seconds.

        `what` says in the log what it was.
        """
        self._prune = prune
        self._retention = retention
        self._what = what
        self._clock = clock
        self._ahead = clock.now() - clock.monotonic()
        self._every = every
        self._pause = pause
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pruner", daemon=True)
        self._log = structlog.get_logger()

    def start(self) -> None:
        """Begin; the first round is somewhere within the first hour, so that many workers do not meet."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """End after the transaction at hand, within `timeout` seconds."""
        self._stopping.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        wait = self._every * random.random()  # noqa: S311 - spread, not secrecy
        while not self._stopping.wait(wait):
            self._round()
            wait = self._every

    def _round(self) -> None:
        now = min(self._clock.now(), self._ahead + self._clock.monotonic() + GAIN)
        before = now - self._retention
        forgotten = 0
        try:
            while some := self._prune(before):
                forgotten += some
                if self._stopping.wait(self._pause):
                    break
        except LedgerUnavailable as e:
            self._log.warning("ledger.unpruned", reason=str(e))
        if forgotten:
            self._log.info("ledger.pruned", **{self._what: forgotten})
