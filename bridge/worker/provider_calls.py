"""Provider calls: a thread pool that calls the provider and passes the answers on."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

import structlog

from bridge.domain.answers import Ambiguous, ProviderError
from bridge.domain.masks import show_id
from bridge.domain.submissions import Attempted

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.evidence import HistoryExtract, Window
    from bridge.domain.masks import Shown
    from bridge.domain.submissions import Submission
    from bridge.ports import Gateway

_log = structlog.get_logger()


def _shown_id(submission: Submission) -> Shown | None:
    if submission.command_id is None:
        return None
    return show_id(submission.command_id, lambda: (submission.destination_address, submission.sender_address))


class ProviderCalls:
    """A fixed number of threads around a gateway. They do no other I/O."""

    def __init__(self, gateway: Gateway, threads: int) -> None:
        self._gateway = gateway
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"provider-call-{number}", daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each thread end after its current call."""
        for _ in self._threads:
            self._calls.put(None)

    def send(self, submission: Submission, *, until: float, answered: Callable[[Attempted], None]) -> None:
        """Submit on one of the threads; `answered` runs there and must not block.

        No call starts that could still run at `until` (`Clock.monotonic` seconds).
        """
        self._calls.put(lambda: answered(self._send(submission, until)))

    def look_up(
        self,
        submission: Submission,
        *,
        window: Window | None,
        until: float,
        found: Callable[[HistoryExtract | None], None],
    ) -> None:
        """Read the provider's history on one of the threads; see `bridge.ports.Gateway.look_up`."""
        self._calls.put(lambda: found(self._look_up(submission, window, until)))

    def probe(self, *, until: float, probed: Callable[[bool], None]) -> None:
        """Probe the provider on one of the threads."""
        self._calls.put(lambda: probed(self._probe(until)))

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def _send(self, submission: Submission, until: float) -> Attempted:
        try:
            return self._gateway.send(submission, until=until)
        except Exception as e:  # noqa: BLE001 - logged with its traceback, and it must cost this call alone
            # A defect of the bridge during a call: the request may have been sent.
            _log.exception("gateway.crashed", command_id=_shown_id(submission), index=submission.index)
            error = ProviderError(name="internal", message=f"the call crashed: {type(e).__name__}")
            return Attempted(answer=Ambiguous(error=error), attempts=1)

    def _look_up(self, submission: Submission, window: Window | None, until: float) -> HistoryExtract | None:
        try:
            return self._gateway.look_up(submission, window=window, until=until)
        except Exception:  # noqa: BLE001 - as above; the lookup has no result
            _log.exception("gateway.crashed", command_id=_shown_id(submission), index=submission.index)
            return None

    def _probe(self, until: float) -> bool:
        try:
            return self._gateway.probe(until=until)
        except Exception:  # noqa: BLE001 - as above
            _log.exception("gateway.crashed")
            return False
