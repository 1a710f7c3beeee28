"""Tells the ledger what the provider's notifications prove, behind the webhook's back: no answer ever waits for it.

It is a help, not a duty: what is in doubt is looked up in the provider's history all the same. So whatever can't be
written soon is dropped, counted, and logged once a minute.
"""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from bridge.domain.ledger import ObservedMessage
from bridge.ports import ChangeRefused, LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.evidence import Evidence
    from bridge.ops.metrics import Metrics
    from bridge.ports import Clock, Ledger

#: Sights that wait for the ledger; some 300 bytes each.
WAITING = 1_000
#: Sights in one transaction.
BATCH = 100
#: Seconds until the ledger is tried again after it failed.
PAUSE = 2.0
#: Seconds between two log lines about what was dropped.
LOG_EVERY = 60.0


class EvidenceWriter:
    """Writes on a thread of its own, to a ledger connection of its own that is opened when first needed."""

    def __init__(
        self,
        open_ledger: Callable[[], Ledger],
        *,
        metrics: Metrics,
        clock: Clock,
        waiting: int = WAITING,
        pause: float = PAUSE,
    ) -> None:
        """`open_ledger` may raise LedgerUnavailable; at most `waiting` sights wait for it; `pause` is in seconds."""
        self._open_ledger = open_ledger
        self._metrics = metrics
        self._clock = clock
        self._pause = pause
        self._waiting: queue.Queue[Evidence | None] = queue.Queue(waiting)
        self._ledger: Ledger | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="evidence", daemon=True)
        self._logged_at = -LOG_EVERY
        self._log = structlog.get_logger()

    def start(self) -> None:
        """Begin; the ledger may come when it likes."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Write what waits, if the ledger takes it at once, and end within `timeout` seconds."""
        self._stopping.set()
        with suppress(queue.Full):  # then it wakes up anyway
            self._waiting.put_nowait(None)
        self._thread.join(timeout)

    def offer(self, evidence: Evidence) -> None:
        """Take what was seen, or drop it. From any thread; never waits."""
        try:
            self._waiting.put_nowait(evidence)
        except queue.Full:
            self._drop(1, "too many wait for the ledger")

    def _run(self) -> None:
        while not self._stopping.is_set() or not self._waiting.empty():
            batch = self._take()
            if batch:
                self._write(batch)
        if self._ledger is not None:
            self._ledger.close()

    def _take(self) -> list[Evidence]:
        """Wait for something, then take what has come with it."""
        batch = [self._waiting.get()]
        while len(batch) < BATCH:
            try:
                batch.append(self._waiting.get_nowait())
            except queue.Empty:
                break
        return [evidence for evidence in batch if evidence is not None]

    def _write(self, batch: list[Evidence]) -> None:
        try:
            if self._ledger is None:
                self._ledger = self._open_ledger()
            self._ledger.apply([ObservedMessage(evidence=evidence) for evidence in batch])
        except (LedgerUnavailable, ChangeRefused) as e:
            self._drop(len(batch), str(e))
            self._stopping.wait(self._pause)
        except Exception:  # noqa: BLE001 - it must not end what takes notifications, and a restart would meet it again
            self._log.exception("evidence.crashed")
            self._drop(len(batch), "a mistake of ours")
            self._stopping.wait(self._pause)
        else:
            self._metrics.evidence["kept"].inc(len(batch))

    def _drop(self, number: int, reason: str) -> None:
        self._metrics.evidence["dropped"].inc(number)
        now = self._clock.monotonic()
        if now - self._logged_at >= LOG_EVERY:
            self._logged_at = now
            self._log.warning(
                "evidence.dropped", reason=reason, hint="doubts are settled by the provider's history alone"
            )
