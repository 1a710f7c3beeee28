"""The worker's event loop: one thread that owns the worker's state and the ledger.

Other threads post callbacks, which the loop runs one after the other, so its state needs no locks. The ledger changes
of one iteration are one transaction. Callbacks that are posted during the commit form the next batch.
"""

from __future__ import annotations

import threading
from itertools import groupby
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from bridge.domain.ledger import Claim, ClockSet, ReadCommand, RecordAnswer, Resolve
from bridge.domain.shown_ids import shown_id
from bridge.ports import ChangeRefused, LedgerUnavailable, LedgerUnusable

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.ledger import Change
    from bridge.domain.rules import LedgerRules
    from bridge.ops.metrics import Metrics
    from bridge.ports import Ledger
    from bridge.worker.ledger_clock import LedgerClock
    from bridge.worker.parts import Lifecycle

#: Seconds until the ledger is tried again: the first back-off, and the longest one after doubling.
FIRST_BACKOFF = 0.2
MAX_BACKOFF = 5.0
#: Tries that a stopping process still makes.
LAST_TRIES = 3
#: Changes that a stopping process may drop.
_LIGHT = (Claim, ClockSet, ReadCommand)
#: Seconds until the first iteration, unless a callback is posted.
FIRST_ITERATION = 1.0
#: Seconds between two comparisons with the ledger's time.
COMPARE_EVERY = 1.0
#: Seconds. The ledger's time is not compared if reading it took longer.
PROMPT = 0.5


def do_nothing(_result: object) -> None:
    """Ignore the result of a change."""


class Work(Protocol):
    """The work of the loop, beside posted callbacks."""

    def go_on(self) -> float | None:
        """Do the work that is due. Called after the posted callbacks, and after each commit.

        Returns the seconds until the next call is due even if nothing is posted; None ends the loop.
        """
        ...

    def on_ledger_unavailable(self) -> None:
        """React to an unavailable ledger. Called before each back-off, while `go_on` is not called."""
        ...

    def clock_set(self, step: float) -> None:
        """Move planned times by `step` seconds, the clock step."""
        ...


class WorkerLoop:
    """Runs on a dedicated thread until its work is done."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        clock: LedgerClock,
        rules: LedgerRules,
        metrics: Metrics,
        lifecycle: Lifecycle,
    ) -> None:
        """Create a loop.

        During a stop, only results from the provider still wait for an unavailable ledger, as long as `wait_closed`
        waits.
        """
        self._rules = rules
        self._compared_at = clock.monotonic()
        self._lifecycle = lifecycle
        self._ledger = ledger
        self._clock = clock
        self._metrics = metrics
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        #: Runs a callback on the loop's thread. Thread-safe; returns at once.
        self.post: Callable[[Callable[[], None]], None] = self._inbox.put
        #: Ledger changes for the next commit, each with a callback for its result: None if the ledger refuses the
        #: change for good. For the loop's thread only.
        self.changes: list[tuple[Change, Callable[[Any], None]]] = []
        self._closed = threading.Event()
        #: Set once `wait_closed` has ended.
        self._given_up = threading.Event()
        self._thread: threading.Thread | None = None
        self._crashed = False
        self._log = structlog.get_logger()
        #: The number of iterations, including tries of the ledger: it does not grow while the loop is stuck.
        self.iterations = 0
        #: The reason why the ledger is unavailable at the moment; None if it is available.
        self.problem: str | None = None

    @property
    def thread_id(self) -> int | None:
        """The native id of the thread; None until it runs."""
        return None if self._thread is None else self._thread.native_id

    def open(self, work: Work) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, args=(work,), name="worker-loop", daemon=True)
        self._thread.start()

    def wait_closed(self, timeout: float) -> bool:
        """Wait until the work is done, for at most `timeout` seconds; returns False also after a crash."""
        closed = self._closed.wait(timeout)
        self._given_up.set()
        return closed and not self._crashed

    def _run(self, work: Work) -> None:
        try:
            # The other parts of the process are still starting.
            timeout: float | None = FIRST_ITERATION
            while timeout is not None:
                self.iterations += 1
                # First, while no change is pending that was planned in the old time.
                self._compare_time(work)
                self._take(timeout)
                timeout = work.go_on()
                while self.changes:
                    self._commit(work)
                    timeout = work.go_on()
        except LedgerUnusable as e:
            self._log.error("ledger.unusable", reason=str(e))
            self._crashed = True
            self._lifecycle.on_unusable()
        except LedgerUnavailable as e:
            self._log.error(
                "loop.gave_up", reason=str(e), hint="unrecorded submissions are looked up on redelivery"
            )
            self._crashed = True
        except Exception:  # noqa: BLE001 - a worker without its loop must not live on
            self._log.exception(
                "loop.crashed",
                hint="the process ends, and the broker redelivers its commands to other workers",
            )
            self._crashed = True
            self._lifecycle.on_crash()
        finally:
            self._closed.set()

    def _take(self, timeout: float) -> None:
        """Wait for a callback, then run all that are posted."""
        try:
            self._inbox.get(timeout=timeout)()
            while True:
                self._inbox.get_nowait()()
        except Empty:
            return

    def _compare_time(self, work: Work) -> None:
        """Notice a clock step, before anything is claimed in the new time."""
        if self._clock.monotonic() < self._compared_at + COMPARE_EVERY:
            return
        asked_at = self._compared_at = self._clock.monotonic()
        try:
            ledger_time = self._ledger.time()
        except LedgerUnusable:
            raise
        except LedgerUnavailable:
            # Nothing can be claimed either. Until the ledger is back, the monotonic clock advances the time.
            return
        if self._clock.monotonic() - asked_at > PROMPT:
            return
        step = self._clock.compare(ledger_time)
        if step is not None:
            self._log.error(
                "clock.set",
                seconds=round(step, 1),
                hint="submissions in doubt wait; configure the time service to slew the clock",
            )
            self.changes.append((ClockSet(now=self._clock.now(), rules=self._rules), do_nothing))
            work.clock_set(step)

    def _commit(self, work: Work) -> None:
        changes, self.changes = self.changes, []
        results = self._apply([change for change, _ in changes], work)
        for (_, go_on), result in zip(changes, results, strict=True):
            go_on(result)

    def _apply(self, changes: list[Change], work: Work) -> list[object]:
        """Commit, with unlimited tries: without the ledger nothing may be sent, published or acknowledged.

        Raises:
            LedgerUnavailable: the grace period is over, and the last tries failed as well.
            LedgerUnusable: the database is no longer the command queue's ledger.

        """
        pause, last_tries = FIRST_BACKOFF, LAST_TRIES
        # Any worker can take an unclaimed command, but an answer that is not recorded costs a lookup.
        is_owed = not all(isinstance(change, _LIGHT) for change in changes)
        over = self._given_up if is_owed else self._lifecycle.stopping
        while last_tries:
            self.iterations += 1
            started = self._clock.monotonic()
            try:
                results = self._ledger.apply(changes)
            except ChangeRefused as e:
                self.problem = None
                return self._apply_apart(changes, e, work)
            except LedgerUnusable:
                raise
            except LedgerUnavailable as e:
                self.problem = f"the ledger can't commit: {e}"
                self._log.error("ledger.unavailable", reason=str(e), changes=len(changes), retry_in=pause)
                work.on_ledger_unavailable()
                last_tries -= over.wait(pause)
                pause = min(MAX_BACKOFF, pause * 2)
            else:
                self.problem = None
                self._metrics.commit_seconds.observe(self._clock.monotonic() - started)
                self._metrics.commit_changes.observe(len(changes))
                return results
        if is_owed:
            raise LedgerUnavailable(self.problem)
        # These commands are requeued. Others may still get answers, which the ledger may record.
        return [None] * len(changes)

    def _apply_apart(self, changes: list[Change], refusal: ChangeRefused, work: Work) -> list[object]:
        """Commit the changes of each command separately, to isolate the command that the ledger refuses."""
        by_command = [list(own) for _, own in groupby(changes, lambda change: change.read_set.command_id)]
        if len(by_command) > 1:
            return [result for own in by_command for result in self._apply(own, work)]
        self._log.error(
            "change.refused", command_id=_shown_id(changes), reason=str(refusal),
            hint="the command is requeued; after broker.delivery_limit deliveries it is dead-lettered",
        )  # fmt: skip
        return [None] * len(changes)


def _shown_id(changes: list[Change]) -> str | None:
    """Return the id of the only command in `changes`, in a form for logs."""
    commands = [change.command for change in changes if isinstance(change, Claim | RecordAnswer | Resolve)]
    # Without the command's numbers, the log masks all digits of the id.
    return shown_id(commands[0]) if commands else changes[0].read_set.command_id
