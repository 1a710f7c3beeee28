"""The pruner: its schedule, its batches, and its failures."""

from __future__ import annotations

import threading

from bridge.adapters.clock import SystemClock
from bridge.jobs.pruner import GAIN, Pruner
from bridge.ports import LedgerUnavailable
from tests.fakes.clock import HandClock
from tests.harness.waiting import wait_until


class PrunedLedger:
    """A store that returns the test's numbers, one a call, then 0; it raises an error among them."""

    def __init__(self, *gives: int | Exception) -> None:
        self.gives = list(gives)
        self.asked: list[float] = []

    def prune(self, before: float) -> int:
        self.asked.append(before)
        given = self.gives.pop(0) if self.gives else 0
        if isinstance(given, Exception):
            raise given
        return given


def test_round_continues_until_nothing_is_left_and_the_next_one_follows() -> None:
    ledger, clock = PrunedLedger(200, 200, 7), SystemClock()
    pruner = Pruner(ledger.prune, 1000.0, clock, every=0.05, pause=0.0)
    pruner.start()
    wait_until(lambda: len(ledger.asked) >= 6, what="a second round")
    pruner.stop()

    assert ledger.gives == []
    assert all(abs(clock.now() - 1000.0 - before) < 10 for before in ledger.asked)
    assert len(set(ledger.asked[:4])) == 1


def test_clock_set_far_ahead_prunes_nothing_too_early() -> None:
    ledger, clock = PrunedLedger(), HandClock()
    pruner = Pruner(ledger.prune, 1000.0, clock, every=0.01, pause=0.0)
    clock.wall += 10 * 366 * 86400
    pruner.start()
    wait_until(lambda: len(ledger.asked) >= 1, what="a round")
    pruner.stop()

    assert set(ledger.asked) == {HandClock().wall + GAIN - 1000.0}


def test_pruning_retries_an_unavailable_ledger_in_the_next_round() -> None:
    ledger = PrunedLedger(LedgerUnavailable("locked"), 3)
    pruner = Pruner(ledger.prune, 1.0, SystemClock(), every=0.01, pause=0.0)
    pruner.start()
    wait_until(lambda: len(ledger.asked) >= 3, what="the next round")
    pruner.stop()

    assert ledger.gives == []


def test_stop_cuts_a_long_round_short() -> None:
    began = threading.Event()

    def prune(_before: float) -> int:
        began.set()
        return 1

    pruner = Pruner(prune, 1.0, SystemClock(), every=0.001, pause=60.0)
    pruner.start()
    began.wait(10)
    pruner.stop(timeout=5.0)

    assert not pruner._thread.is_alive()
