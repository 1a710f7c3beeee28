"""The worker's event loop: one thread that owns all that the worker knows, and the ledger.

Other threads post to it what happened; it does what follows, one thing after the other, so nothing that it owns needs a
lock. The changes of the ledger that one round brings are one transaction. What is posted while that is written to the
disk makes up the next one: commits batch themselves.
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

#: Seconds until the ledger is tried again: the first time, and the most it doubles to.
FIRST_BACKOFF = 0.2
MAX_BACKOFF = 5.0
#: Tries that a process on its way out still makes.
LAST_TRIES = 3
#: What a process on its way out may leave undone.
_LIGHT = (Claim, ClockSet, ReadCommand)
#: Seconds until the first round, unless something is posted.
FIRST_ROUND = 1.0
#: Seconds between two comparisons of our time with the ledger's.
COMPARE_EVERY = 1.0
#: Seconds that the ledger may take to tell its time; what came later is too old to compare with.
PROMPT = 0.5


def do_nothing(_result: object) -> None:
    """Go on with nothing."""


class Work(Protocol):
    """Everything that the loop does beside the calls that are posted to it."""

    def go_on(self) -> float | None:
        """Do what can be done now: called after what was posted, and after each commit.

        Returns the seconds until there may be something to do even if nothing is posted; None to end the loop.
        """
        ...

    def on_ledger_unavailable(self) -> None:
        """Act on a ledger that takes nothing: called before each pause for it; `go_on` is not called meanwhile."""
        ...

    def clock_set(self, step: float) -> None:
        """Move what is planned by `step` seconds: the time was set by as much."""
        ...


class WorkerLoop:
    """Runs on a thread of its own until its work is done."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        clock: LedgerClock,
        rules: LedgerRules,
        metrics: Metrics,
        lifecycle: Lifecycle,
    ) -> None:
        """Make a loop.

        During a stop it waits for a ledger that is unavailable only with what was learnt from the provider, and as long
        as `wait_closed` waits.
        """
        self._rules = rules
        self._compared_at = clock.monotonic()
        self._lifecycle = lifecycle
        self._ledger = ledger
        self._clock = clock
        self._metrics = metrics
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        #: Has a call run on the loop's thread. From any thread; returns at once.
        self.post: Callable[[Callable[[], None]], None] = self._inbox.put
        #: Changes of the ledger for the next commit, each with what is called with its result: None for a change that
        #: the ledger refuses for good. For the loop's thread alone.
        self.changes: list[tuple[Change, Callable[[Any], None]]] = []
        self._closed = threading.Event()
        #: Set once `wait_closed` has ended.
        self._given_up = threading.Event()
        self._thread: threading.Thread | None = None
        self._crashed = False
        self._log = structlog.get_logger()
        #: How often it went round, tries of the ledger included: a loop that is stuck counts no more.
        self.iterations = 0
        #: Why the ledger takes nothing at the moment, where that is so.
        self.problem: str | None = None

    @property
    def thread_id(self) -> int | None:
        """The native id of the thread, once it runs."""
        return None if self._thread is None else self._thread.native_id

    def open(self, work: Work) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, args=(work,), name="worker-loop", daemon=True)
        self._thread.start()

    def wait_closed(self, timeout: float) -> bool:
        """Wait until the work is done, for at most `timeout` seconds; after a crash there is nothing to wait for."""
        closed = self._closed.wait(timeout)
        self._given_up.set()
        return closed and not self._crashed

    def _run(self, work: Work) -> None:
        try:
            # The other parts of the process are still starting.
            timeout: float | None = FIRST_ROUND
            while timeout is not None:
                self.iterations += 1
                # While nothing is under way that was planned in the time there was.
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
                "loop.gave_up", reason=str(e), hint="what was not recorded is looked up on redelivery"
            )
            self._crashed = True
        except Exception:  # noqa: BLE001 - a worker without its loop must not live on
            self._log.exception(
                "loop.crashed", hint="the process ends; the broker gives its commands to others"
            )
            self._crashed = True
            self._lifecycle.on_crash()
        finally:
            self._closed.set()

    def _take(self, timeout: float) -> None:
        """Wait for something to happen, then take in all that has."""
        try:
            self._inbox.get(timeout=timeout)()
            while True:
                self._inbox.get_nowait()()
        except Empty:
            return

    def _compare_time(self, work: Work) -> None:
        """Notice that the time was set, before anything is claimed in the new one."""
        if self._clock.monotonic() < self._compared_at + COMPARE_EVERY:
            return
        asked_at = self._compared_at = self._clock.monotonic()
        try:
            ledger_time = self._ledger.time()
        except LedgerUnusable:
            raise
        except LedgerUnavailable:
            # Nothing can be claimed either. Until it is back our own time goes on by itself.
            return
        if self._clock.monotonic() - asked_at > PROMPT:
            return
        step = self._clock.compare(ledger_time)
        if step is not None:
            self._log.error(
                "clock.set",
                seconds=round(step, 1),
                hint="what is in doubt waits; have clocks slewed, not set",
            )
            self.changes.append((ClockSet(now=self._clock.now(), rules=self._rules), do_nothing))
            work.clock_set(step)

    def _commit(self, work: Work) -> None:
        changes, self.changes = self.changes, []
        results = self._apply([change for change, _ in changes], work)
        for (_, go_on), result in zip(changes, results, strict=True):
            go_on(result)

    def _apply(self, changes: list[Change], work: Work) -> list[object]:
        """Commit, however long it takes: without the ledger nothing may be sent, published or acknowledged.

        Raises:
            LedgerUnavailable: the grace period is over, and the last tries failed as well.
            LedgerUnusable: the database is no longer the command queue's ledger.

        """
        pause, last_tries = FIRST_BACKOFF, LAST_TRIES
        # A command without its claim is any worker's; an answer that is not recorded has to be looked up by another.
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
        # Those commands go back to the queue; others may have answers on their way that the ledger still takes.
        return [None] * len(changes)

    def _apply_apart(self, changes: list[Change], refusal: ChangeRefused, work: Work) -> list[object]:
        """Commit what one command has in `changes` without the others', so that who is at fault is alone in it."""
        by_command = [list(own) for _, own in groupby(changes, lambda change: change.read_set.command_id)]
        if len(by_command) > 1:
            return [result for own in by_command for result in self._apply(own, work)]
        self._log.error(
            "change.refused", command_id=_shown_id(changes), reason=str(refusal),
            hint="it goes back to the queue; after broker.delivery_limit deliveries it is a dead letter",
        )  # fmt: skip
        return [None] * len(changes)


def _shown_id(changes: list[Change]) -> str | None:
    """Return the id of the one command of `changes`, as a log may have it."""
    commands = [change.command for change in changes if isinstance(change, Claim | RecordAnswer | Resolve)]
    # Without its command all digits in it are hidden when it is written.
    return shown_id(commands[0]) if commands else changes[0].read_set.command_id
