"""A worker without its desk must not live on, and has nothing to wait for."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, NoReturn

from bridge.adapters.clock import SystemClock
from bridge.bootstrap.admin import make_metrics
from bridge.bootstrap.sending import send_rules
from bridge.ports import Delivery, LedgerUnavailable
from bridge.runtime.steady import SteadyClock
from bridge.runtime.worker import Worker
from bridge.settings import Settings
from tests.fakes.publisher import FakePublisher
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.core.ledger import Change
    from bridge.core.reconcile import Reading, Window
    from bridge.ports import Attempted, Ledger, Submission


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


class NoGateway:
    """A provider that is never called."""

    def send(self, submission: Submission, *, until: float) -> Attempted:
        """Fail: nothing may be called that no ledger knows of."""
        raise AssertionError("called without a claim")

    def look(self, submission: Submission, *, window: Window | None, until: float) -> Reading | None:
        """Fail likewise."""
        raise AssertionError("looked without a claim")

    def probe(self, *, until: float) -> bool:
        """Be well."""
        return True


class IdleSource:
    """A source that is told what to do and counts what it is told to settle."""

    def __init__(self) -> None:
        self.settled: list[Delivery] = []

    def ack(self, delivery: Delivery) -> None:
        """Note it."""
        self.settled.append(delivery)

    give_back = ack

    def pause(self) -> None:
        """Do nothing."""

    resume = pause


def worker_on(ledger: Ledger, crashed: threading.Event, publisher: FakePublisher) -> Worker:
    return Worker(
        publisher=publisher, ledger=ledger, gateway=NoGateway(), clock=SteadyClock(SystemClock()),
        rules=send_rules(Settings()), concurrency=1, spare=0, owner="me", stopping=threading.Event(),
        metrics=make_metrics(), on_crash=crashed.set,
    )  # fmt: skip


def test_a_stop_waits_for_no_ledger_and_settles_nothing() -> None:
    crashed = threading.Event()
    publisher, source = FakePublisher(), IdleSource()
    worker = worker_on(AbsentLedger(), crashed, publisher)
    worker.start(source)
    body = json.dumps({"id": "a", "destination_address": "+16131234567", "message": "hello"})
    worker.receive(Delivery(body.encode(), tag=(1, 1)))
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
    body = json.dumps({"id": "a", "destination_address": "+16131234567", "message": "hello"})
    worker.receive(Delivery(body.encode(), tag=(1, 1)))
    assert crashed.wait(10)
    started = time.monotonic()
    finished = worker.stop(grace=30)
    publisher.close()

    assert not finished
    assert time.monotonic() - started < 10
    assert (publisher.taken, source.settled) == ([], [])
