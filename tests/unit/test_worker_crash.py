"""Crashes of a worker's event loop: the process ends and does not wait."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NoReturn

from bridge.domain.messages import Delivery
from bridge.ports import LedgerUnavailable
from tests.fakes.ledger import MemoryLedger
from tests.fakes.publisher import FakePublisher
from tests.harness.waiting import wait_until
from tests.unit.worker_setup import IdleSource, NoGateway, accepted, body_of, worker_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.domain.ledger import Change
    from bridge.domain.submissions import Attempted, Submission


class BrokenLedger:
    """A ledger that raises an unexpected exception."""

    def apply(self, changes: Sequence[Change]) -> NoReturn:
        """Raise an exception that the port does not define."""
        raise ZeroDivisionError

    def time(self) -> None:
        """Have no clock."""

    def close(self) -> None:
        """Do nothing."""


class AbsentLedger:
    """A ledger that is permanently unavailable."""

    def apply(self, changes: Sequence[Change]) -> NoReturn:
        """Raise the port's exception."""
        raise LedgerUnavailable("gone")

    def time(self) -> NoReturn:
        """Raise the same."""
        raise LedgerUnavailable("gone")

    def close(self) -> None:
        """Do nothing."""


def test_stop_does_not_wait_for_the_ledger_and_requeues_commands_without_a_claim() -> None:
    crashed = threading.Event()
    publisher, source = FakePublisher(), IdleSource()
    worker = worker_on(AbsentLedger(), crashed, publisher)
    worker.start(source)
    worker.receive(Delivery(body_of("a"), tag=(1, 1)))
    wait_until(lambda: worker.problem is not None)
    started = time.monotonic()
    finished = worker.stop(grace=60)
    publisher.close()

    assert finished
    assert time.monotonic() - started < 30
    assert (crashed.is_set(), publisher.taken, len(source.requeued)) == (False, [], 1)
    assert source.settled == source.requeued


class FailingLedger(MemoryLedger):
    """A ledger that may be unavailable."""

    def __init__(self) -> None:
        """Be available."""
        super().__init__()
        self.unavailable = False

    def apply(self, changes: Sequence[Change]) -> list[object]:
        """Apply the changes, unless it is unavailable."""
        if self.unavailable:
            raise LedgerUnavailable("gone")
        return super().apply(changes)


class SlowGateway(NoGateway):
    """A provider that responds when the test permits."""

    def __init__(self) -> None:
        """Wait for it."""
        self.called, self.may_answer = threading.Event(), threading.Event()

    def send(self, submission: Submission, *, until: float) -> Attempted:
        """Accept, in the end."""
        self.called.set()
        assert self.may_answer.wait(20)
        return accepted("m")


def test_stop_records_a_pending_response_though_another_claim_found_no_ledger() -> None:
    ledger, gateway, crashed = FailingLedger(), SlowGateway(), threading.Event()
    publisher, source = FakePublisher(), IdleSource()
    worker = worker_on(ledger, crashed, publisher, gateway, concurrency=2)
    worker.start(source)
    worker.receive(Delivery(body_of("a"), tag=(1, 1)))
    assert gateway.called.wait(10)
    ledger.unavailable = True
    worker.receive(Delivery(body_of("b"), tag=(1, 2)))
    wait_until(lambda: worker.problem is not None)
    stopper = threading.Thread(target=worker.stop, args=(60,))
    stopper.start()
    # Deliveries without a claim are not waited for.
    wait_until(lambda: source.requeued)
    gateway.may_answer.set()
    ledger.unavailable = False
    stopper.join(30)
    publisher.close()

    assert not stopper.is_alive()
    assert [message.routing_key for message in publisher.taken] == ["sms.outbound.sent"]
    assert [delivery.tag for delivery in source.settled] == [(1, 2), (1, 1)]
    assert [delivery.tag for delivery in source.requeued] == [(1, 2)]


def test_crash_ends_the_process_at_once_and_settles_nothing() -> None:
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
