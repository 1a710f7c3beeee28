"""Status polling at the provider, with a rate limit and exponential back-off after failures."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog

from bridge.domain.receipts import THREAD_FROM, by_thread
from bridge.ports import ArchiveUnavailable

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from bridge.domain.receipts import PendingReceipt
    from bridge.ops.metrics import Metrics
    from bridge.ports import Clock, Statuses

T = TypeVar("T")

#: Seconds of back-off after a failed call: the first value, and the maximum after doubling.
FIRST_BACKOFF = 1.0
MAX_BACKOFF = 60.0

_log = structlog.get_logger()


class StatusPolling:
    """Calls the provider for message statuses. Used by one thread."""

    def __init__(
        self,
        statuses: Statuses,
        *,
        may_ask: Callable[[], bool],
        per_second: float,
        clock: Clock,
        metrics: Metrics,
        stopping: threading.Event,
    ) -> None:
        """`may_ask` returns whether the provider may be called now; `per_second` limits the calls, 0 is no limit."""
        self._statuses = statuses
        self._may_ask = may_ask
        self._interval = 1 / per_second if per_second else 0.0
        self.clock = clock
        self.metrics = metrics
        self.stopping = stopping
        #: When the next call may be made, in monotonic seconds.
        self._next_call = clock.monotonic()
        self._pause = 0.0

    @property
    def wait(self) -> float:
        """The seconds until the next call may be made."""
        return max(0.0, self._next_call - self.clock.monotonic())

    @property
    def allowed(self) -> bool:
        """Whether calls may be made at all."""
        return self._may_ask()

    def answers(
        self, pending: Iterable[PendingReceipt], *, until: float
    ) -> Iterator[tuple[PendingReceipt, str | None]]:
        """Yield the status of each receipt that can be polled before `until` (monotonic seconds); None is no news.

        If the provider is unavailable, the receipt of the failed call is yielded last, with None: it has had its
        attempt, so that it can't block the others for ever.
        """
        for pair, group in by_thread(pending).items():
            listed: Mapping[str, str | None] | None = None if len(group) >= THREAD_FROM else {}
            for one in group:
                message_id = one.sent.message_id
                if pair is None:
                    yield one, None
                    continue
                try:
                    if listed is None:
                        listed = self._call(partial(self._statuses.of_thread, pair, until=until), until)
                    if message_id in listed:
                        status = listed[message_id]
                    else:
                        status = self._call(
                            partial(self._statuses.of_message, pair, message_id, until=until), until
                        )
                except ArchiveUnavailable:
                    yield one, None
                    return
                except _CallNotAllowed:
                    return
                yield one, status

    def _call(self, ask: Callable[[], T], until: float) -> T:
        """Wait for the rate limit and make a call.

        Raises:
            ArchiveUnavailable: the provider is unavailable.
            _CallNotAllowed: calls are not allowed now, or there is no time left.

        """
        stopped = self.stopping.wait(self.wait)
        started = self.clock.monotonic()
        if stopped or started >= until or not self._may_ask():
            raise _CallNotAllowed
        self._next_call = started + self._interval
        self.metrics.receipt_calls.inc()
        try:
            answer = ask()
        except ArchiveUnavailable as e:
            self._pause = min(MAX_BACKOFF, self._pause * 2 or FIRST_BACKOFF)
            self._next_call = self.clock.monotonic() + self._pause
            _log.warning("receipts.poll_failed", reason=str(e), seconds=self._pause)
            raise
        self._pause = 0.0
        return answer


class _CallNotAllowed(Exception):
    """No call may be made."""
