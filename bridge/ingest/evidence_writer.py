"""Writer of evidence: records in the ledger, in the background, which messages the notifications prove to exist.

No webhook's answer waits for it. It is best-effort: submissions in doubt are looked up in the provider's history
anyway. Evidence that can't be written soon is dropped, counted, and logged once a minute.
"""

from __future__ import annotations

import queue
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING

from bridge.concurrency.background_worker import StoreWorker
from bridge.domain.ledger import ObservedMessage
from bridge.ports import ChangeRefused, LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.evidence import Evidence
    from bridge.ops.metrics import Metrics
    from bridge.ports import Ledger

#: Observed messages that wait for the ledger; some 300 bytes each.
WAITING = 1_000
#: Observed messages in one transaction.
BATCH = 100
#: Seconds until the ledger is tried again after it failed.
PAUSE = 2.0


class EvidenceWriter(StoreWorker["Ledger"]):
    """Writes on its own ledger connection; evidence that waits at a stop is written if the ledger takes it at once."""

    def __init__(
        self,
        open_ledger: Callable[[], Ledger],
        *,
        metrics: Metrics,
        waiting: int = WAITING,
        pause: float = PAUSE,
    ) -> None:
        """`open_ledger` may raise LedgerUnavailable; at most `waiting` items wait for it; `pause` is in seconds."""
        super().__init__("evidence", open_ledger, retry=pause)
        self._metrics = metrics
        self._waiting: queue.Queue[Evidence] = queue.Queue(waiting)

    def add(self, evidence: Evidence) -> None:
        """Take what was seen, or drop it. From any thread; never waits."""
        try:
            self._waiting.put_nowait(evidence)
        except queue.Full:
            self._drop(1, "too many wait for the ledger")
        self.wake()

    def has_more(self) -> bool:
        """Return whether evidence waits."""
        return not self._waiting.empty()

    def run_once(self) -> float:
        """Write what has come."""
        batch: list[Evidence] = []
        with suppress(queue.Empty):
            while len(batch) < BATCH:
                batch.append(self._waiting.get_nowait())
        if batch:
            self._write(batch)
        return 0.0 if self.has_more() else inf

    def _write(self, batch: list[Evidence]) -> None:
        try:
            self.store.apply([ObservedMessage(evidence=evidence) for evidence in batch])
        except (LedgerUnavailable, ChangeRefused) as e:
            self._drop(len(batch), str(e))
            self.pause(self._retry)
        except Exception:
            self._drop(len(batch), "a mistake of ours")
            raise
        else:
            self._metrics.evidence["kept"].inc(len(batch))

    def _drop(self, number: int, reason: str) -> None:
        self._metrics.evidence["dropped"].inc(number)
        self.warn(
            "evidence.dropped", reason=reason, hint="doubts are settled by the provider's history alone"
        )
