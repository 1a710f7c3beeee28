"""The worker's event loop: a bad change fails its command only, and a clock step is detected."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pytest

from bridge.app.admin import make_metrics
from bridge.domain.ledger import ClockSet, ReadSet, UnitOfWork
from bridge.domain.ledger.time import grace_until
from bridge.domain.rules import LedgerRules
from bridge.ports import ChangeRefused, LedgerUnavailable, LedgerUnusable
from bridge.worker.ledger_clock import LedgerClock
from bridge.worker.loop import LAST_TRIES, WorkerLoop, do_nothing
from bridge.worker.parts import Lifecycle
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bridge.domain.ledger import Change

START = 1_800_000_000.0


@dataclass
class Clocks:
    """A wall clock that can be set, and a monotonic one that advances with each reading."""

    ahead: float = START
    ticks: float = 0.0

    def now(self) -> float:
        return self.ahead + self.ticks

    def monotonic(self) -> float:
        self.ticks += 0.1
        return self.ticks


@dataclass(frozen=True)
class Note:
    """A change that records itself."""

    command_id: str
    text: str = ""

    @property
    def read_set(self) -> ReadSet:
        return ReadSet(command_id=self.command_id)

    def apply(self, unit: UnitOfWork) -> object:
        return self.text


class PickyLedger:
    """A ledger that accepts all changes but those of the command `bad`."""

    def __init__(self) -> None:
        self.unit = UnitOfWork()
        self.commits: list[list[Change]] = []
        #: Number of commits that fail before it is available.
        self.failures_left = 0
        #: Whether it has become another ledger.
        self.replaced = False

    def apply(self, changes: Sequence[Change]) -> list[object]:
        if self.replaced:
            raise LedgerUnusable("another one")
        if self.failures_left:
            self.failures_left -= 1
            raise LedgerUnavailable("gone")
        if any(change.read_set.command_id == "bad" for change in changes):
            raise ChangeRefused("it does not fit")
        self.commits.append(list(changes))
        return [change.apply(self.unit) for change in changes]

    def time(self) -> float | None:
        if self.replaced:
            raise LedgerUnusable("another one")
        return None

    def close(self) -> None:
        pass


class Idle:
    """Work that only ends, and records its notifications of time."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.stalls = 0
        self.ended = threading.Event()

    def go_on(self) -> float | None:
        return None if self.ended.is_set() else 0.01

    def on_ledger_unavailable(self) -> None:
        self.stalls += 1

    def clock_set(self, step: float) -> None:
        self.steps.append(step)


def make_loop(
    ledger: PickyLedger,
    clocks: Clocks,
    *,
    stopping: threading.Event | None = None,
    on_crash: Callable[[], None] = pytest.fail,
    on_unusable: Callable[[], None] = pytest.fail,
) -> WorkerLoop:
    lifecycle = Lifecycle(stopping=stopping or threading.Event(), on_crash=on_crash, on_unusable=on_unusable)
    return WorkerLoop(
        ledger, clock=LedgerClock(clocks), rules=LedgerRules(), metrics=make_metrics(), lifecycle=lifecycle
    )


@contextmanager
def running_loop(ledger: PickyLedger, work: Idle, clocks: Clocks) -> Iterator[WorkerLoop]:
    crashed = threading.Event()
    made = make_loop(ledger, clocks, on_crash=crashed.set)
    made.open(work)
    # Without it the first round waits for a second.
    made.post(lambda: None)
    yield made
    work.ended.set()
    assert made.wait_closed(10)
    assert not crashed.is_set()


def test_change_that_the_ledger_refuses_fails_its_command_only() -> None:
    ledger, got = PickyLedger(), dict[str, object]()
    changes = [Note("a", "1"), Note("bad", "2"), Note("bad", "3"), Note("b", "4"), Note("b", "5")]

    def all_at_once() -> None:
        for change in changes:
            it.changes.append((change, partial(got.__setitem__, change.text)))

    with running_loop(ledger, Idle(), Clocks()) as it:
        it.post(all_at_once)
        wait_until(lambda: len(got) == 5)

    assert got == {"1": "1", "2": None, "3": None, "4": "4", "5": "5"}
    assert ledger.commits == [changes[:1], changes[3:]], "changes of one command are one commit"
    assert it.problem is None, "nothing is wrong with the ledger"


def test_work_is_notified_of_an_unavailable_ledger_and_a_refusal_shows_its_return() -> None:
    ledger, work, got = PickyLedger(), Idle(), list[object]()
    ledger.failures_left = 2
    with running_loop(ledger, work, Clocks()) as it:
        it.post(lambda: it.changes.append((Note("bad"), got.append)))
        wait_until(lambda: work.stalls)
        problem = it.problem
        wait_until(lambda: got)

    assert problem == "the ledger can't commit: gone"
    assert work.stalls == 2
    assert (got, it.problem) == ([None], None)


@pytest.mark.parametrize("busy", [True, False])
def test_replaced_ledger_ends_the_process_at_once_also_when_idle(*, busy: bool) -> None:
    ledger, unusable, got = PickyLedger(), threading.Event(), list[object]()
    it = make_loop(ledger, Clocks(), on_unusable=unusable.set)
    it.open(Idle())
    ledger.replaced = True
    it.post(lambda: it.changes.append((Note("a"), got.append)) if busy else None)

    assert unusable.wait(10)
    assert not it.wait_closed(10), "some work is unfinished"
    assert got == []


def test_stop_waits_for_the_ledger_to_record_results_until_its_deadline() -> None:
    ledger, work, got = PickyLedger(), Idle(), list[object]()
    ledger.failures_left = LAST_TRIES + 1
    stopping = threading.Event()
    it = make_loop(ledger, Clocks(), stopping=stopping)
    it.open(work)
    it.post(lambda: it.changes.append((Note("a", "1"), got.append)))
    wait_until(lambda: work.stalls)
    stopping.set()
    work.ended.set()

    assert it.wait_closed(30)
    assert got == ["1"]


def test_stop_past_its_deadline_ends_without_the_ledger() -> None:
    ledger, work = PickyLedger(), Idle()
    ledger.failures_left = 1000
    stopping = threading.Event()
    it = make_loop(ledger, Clocks(), stopping=stopping)
    it.open(work)
    it.post(lambda: it.changes.append((Note("a"), do_nothing)))
    wait_until(lambda: work.stalls)
    stopping.set()

    assert not it.wait_closed(0.1)
    assert not it.wait_closed(30), "it has given up with unfinished work"
    assert ledger.failures_left > 900


def test_clock_step_is_recorded_in_the_ledger_and_planned_times_move_with_it() -> None:
    ledger, work, clocks = PickyLedger(), Idle(), Clocks()
    with running_loop(ledger, work, clocks):
        clocks.ahead += 86_400
        wait_until(lambda: bool(ledger.commits))

    [[noted]] = ledger.commits
    assert isinstance(noted, ClockSet)
    assert [round(step) for step in work.steps] == [86_400]
    assert grace_until(ledger.unit, clocks.now(), LedgerRules()) is not None
