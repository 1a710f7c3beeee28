"""Has the ledger forget, about once an hour, what it need not remember any longer."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from bridge.concurrency.background_worker import BackgroundWorker
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


class Pruner(BackgroundWorker):
    """Prunes a little at a time; the first round is somewhere within the first hour, so that many do not meet."""

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
        super().__init__("pruner", after=every * random.random(), retry=every)  # noqa: S311 - spread, not secrecy
        self._prune = prune
        self._retention = retention
        self._what = what
        self._clock = clock
        self._ahead = clock.now() - clock.monotonic()
        self._every = every
        self._pause = pause

    def run_once(self) -> float:
        """Forget what is too old."""
        now = min(self._clock.now(), self._ahead + self._clock.monotonic() + GAIN)
        before = now - self._retention
        forgotten = 0
        try:
            while some := self._prune(before):
                forgotten += some
                if self.pause(self._pause):
                    break
        except LedgerUnavailable as e:
            self._log.warning("ledger.prune_failed", reason=str(e))
        if forgotten:
            self._log.info("ledger.pruned", **{self._what: forgotten})
        return self._every
