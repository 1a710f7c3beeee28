"""A worker without its desk must not live on, and has nothing to wait for."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NoReturn

from bridge.ports import Delivery, LedgerUnavailable
from tests.fakes.publisher import FakePublisher
from tests.unit.worker_setup import IdleSource, body_of, worker_on
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.core.ledger import Change


class BrokenLedger:
    """A ledger with a mistake in it."""

    adopted_at: float | None = None

    def apply(self, changes: Sequence[Change]) -> NoReturn:
        """Fail in a way that no port foresees."""
        raise ZeroDivisionError

    def time(self) -> None:
        """Have no clock."""

    def close(self) -> None:
        """Do nothing."""


class AbsentLedger:
    """A ledger that is away and does not come back."""

    adopted_at: float | None = None

    def apply(self, changes: Sequence[Change]) -> NoReturn:
        """Fail as the port foresees."""
        raise LedgerUnavailable("gone")

    def time(self) -> NoReturn:
        """Fail likewise."""
        raise LedgerUnavailable("gone")

    def close(self) -> None:
        """Do nothing."""


def test_a_stop_waits_for_no_ledger_and_settles_nothing() -> None:
    crashed = threading.Event()
    publisher, source = FakePublisher(), IdleSource()
    worker = worker_on(AbsentLedger(), crashed, publisher)
    worker.start(source)
    worker.receive(Delivery(body_of("a"), tag=(1, 1)))
    wait_until(lambda: worker.trouble is not None)
    started = time.monotonic()
    finished = worker.stop(grace=60)
    publisher.close()

    assert not finished
    assert time.monotonic() - started < 30
    assert (crashed.is_set(), publisher.taken, source.settled) == (False, [], [])


def test_a_crash_ends_the_process_at_once_and_settles_nothing() -> None:
    crashed = threading.Event()
    publisher, source = FakePublisher(), IdleSource()
    worker = worker_on(BrokenLedger(), crashed, publisher)
    worker.start(source)
    worker.receive(Delivery(body_of("a"), tag=(1, 1)))
    assert crashed.wait(10)
    started = time.monotonic()
    finished = worker.stop(grace=30)
    publisher.close()

    assert not finished
    assert time.monotonic() - started < 10
    assert (publisher.taken, source.settled) == ([], [])
