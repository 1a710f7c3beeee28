"""Pruner: deletes expired rows of the ledger about once an hour."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from bridge.concurrency.background_worker import BackgroundWorker
from bridge.ports import LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.ports import Clock

#: Seconds between two rounds, and between two transactions of a round: commands go first.
ROUND = 3600.0
PAUSE = 0.5
#: Seconds by which the wall clock may gain on the monotonic one. A clock that is set years ahead by mistake must not
#: delete records that redelivered commands still need. After a suspend the machine prunes later.
GAIN = 86400.0


class Pruner(BackgroundWorker):
    """Prunes in small transactions. The first round has a random time within the first hour, to spread processes."""

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
        """`prune` deletes some rows older than a time and returns their number; `retention` is in seconds.

        `what` is the log's field for the number.
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
        """Delete expired rows."""
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
