"""The threads that call the provider: each takes a claimed submission, calls, and hands the answer back."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

import structlog

from bridge.core.answers import Ambiguous, ProviderError
from bridge.ports import Attempted

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.ports import Gateway, Submission

_log = structlog.get_logger()


class Callers:
    """A fixed number of threads around a gateway. They do no other I/O."""

    def __init__(self, gateway: Gateway, threads: int) -> None:
        self._gateway = gateway
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"caller-{number}", daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Have each thread end after its call."""
        for _ in self._threads:
            self._calls.put(None)

    def call(self, submission: Submission, *, until: float, answered: Callable[[Attempted], None]) -> None:
        """Call the provider on one of the threads; `answered` runs there and must not block.

        No call starts that could still run at `until` (`Clock.monotonic` seconds).
        """
        self._calls.put(_Call(submission, until, answered))

    def _run(self) -> None:
        while True:
            call = self._calls.get()
            if call is None:
                return
            call.answered(self._attempt(call))

    def _attempt(self, call: _Call) -> Attempted:
        try:
            return self._gateway.send(call.submission, until=call.until)
        except Exception as e:  # noqa: BLE001 - logged with its traceback, and it must cost this call alone
            # A mistake of ours in the middle of a call: it may have left.
            _log.exception(
                "gateway.crashed", command_id=call.submission.command_id, index=call.submission.index
            )
            error = ProviderError(name="internal", message=f"the call broke down: {type(e).__name__}")
            return Attempted(answer=Ambiguous(error=error), attempts=1)


class _Call:
    __slots__ = ("answered", "submission", "until")

    def __init__(self, submission: Submission, until: float, answered: Callable[[Attempted], None]) -> None:
        self.submission = submission
        self.until = until
        self.answered = answered
