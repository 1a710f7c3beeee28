"""Pauses of the worker's consuming, and commands whose connection is lost."""

from __future__ import annotations

import gc
import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bridge.domain.answers import Accepted, ProviderError, Unsent
from bridge.domain.deliveries import TOKEN
from bridge.domain.messages import Delivery
from bridge.domain.submissions import Attempted, Submission
from bridge.ports import LedgerUnavailable
from tests.fakes.ledger import MemoryLedger
from tests.fakes.publisher import FakePublisher
from tests.fakes.source import FakeSource
from tests.harness.contract_check import event_of
from tests.harness.waiting import wait_until
from tests.unit.worker_setup import NoGateway, body_of, worker_on

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bridge.domain.ledger import Change
    from bridge.worker.worker import Worker

PREFETCH = 8
OFTEN = 40
SENT = "sms.outbound.sent"


class SlowGateway(NoGateway):
    """A provider that accepts all calls but the first few, once it may respond."""

    def __init__(self, unsent: int = 0) -> None:
        self.unsent = unsent
        self.calls: list[tuple[str | None, int]] = []
        self.answering = threading.Event()
        self.answering.set()

    def send(self, submission: Submission, *, until: float) -> Attempted:
        """Answer."""
        self.calls.append((submission.command_id, submission.index))
        self.answering.wait()
        if self.unsent:
            self.unsent -= 1
            return Attempted(answer=Unsent(error=ProviderError(name="network")), attempts=1)
        message_id = f"{submission.command_id} {submission.index}"
        answer = Accepted(message_id=message_id, sender_address=None, delivery_status=None, http_status=201)
        return Attempted(answer=answer, attempts=1)


class FarLedger(MemoryLedger):
    """A ledger that can be unavailable or stalled."""

    def __init__(self) -> None:
        super().__init__()
        self.unavailable = False
        self.moving = threading.Event()
        self.moving.set()
        self.asked = 0

    def apply(self, changes: Sequence[Change]) -> list[object]:
        """Commit, if it is available."""
        self.asked += 1
        self.moving.wait()
        if self.unavailable:
            raise LedgerUnavailable("gone")
        return super().apply(changes)


class Scene:
    """A worker and its environment."""

    def __init__(self, gateway: SlowGateway, concurrency: int) -> None:
        self.crashed = threading.Event()
        self.publisher, self.ledger, self.gateway = FakePublisher(), FarLedger(), gateway
        self.worker: Worker = worker_on(
            self.ledger, self.crashed, self.publisher, gateway, concurrency=concurrency
        )
        self.source = FakeSource(self.worker.receive, self.worker.lose, prefetch=PREFETCH)

    def send(self, number: int = PREFETCH) -> None:
        """Put that number of commands into the queue."""
        for each in range(number):
            self.source.send(body_of(f"c{each}"))

    def reconnect(self, times: int = OFTEN) -> None:
        """Lose the connection repeatedly, each time after a moment."""
        for _ in range(times):
            self.source.break_off()
            threading.Event().wait(0.01)

    def confirmed(self) -> Counter[tuple[str, int]]:
        """Return the number of `sent` events of each submission."""
        datas = (
            event_of(message.body)["data"] for message in self.publisher.taken if message.routing_key == SENT
        )
        return Counter((data["command_id"], data["index"]) for data in datas)


@contextmanager
def scene(gateway: SlowGateway | None = None, *, concurrency: int = 2) -> Iterator[Scene]:
    it = Scene(gateway or SlowGateway(), concurrency)
    it.worker.start(it.source)
    it.source.start()
    yield it
    it.worker.stop(grace=10)
    it.source.stop()
    it.publisher.close()
    assert not it.crashed.is_set()


def held(marker: str) -> int:
    """Return the number of deliveries in memory with `marker` in their body."""
    return sum(type(each) is Delivery and marker.encode() in each.body for each in gc.get_objects())


def test_nothing_is_consumed_while_nothing_can_be_published() -> None:
    with scene() as it:
        it.publisher.available = False
        wait_until(lambda: not it.source.consuming)
        it.send()
        it.reconnect(3)
        taken = it.source.held
        it.publisher.available = True
        wait_until(lambda: it.source.acked == PREFETCH)

        assert taken == 0
        assert set(it.confirmed().values()) == {1}


def test_late_confirm_pauses_claims_and_does_not_end_the_consumer() -> None:
    with scene() as it:
        it.publisher.stalled, it.publisher.available = True, False
        it.send()
        wait_until(lambda: it.source.held == PREFETCH)
        calls, consuming = len(it.gateway.calls), it.source.consuming
        it.publisher.available = True
        wait_until(lambda: it.source.acked == PREFETCH)

        assert (calls, consuming) == (0, True)
        assert set(it.confirmed().values()) == {1}


def test_nothing_is_consumed_while_the_ledger_is_unavailable() -> None:
    with scene() as it:
        it.ledger.unavailable = True
        it.send()
        wait_until(lambda: not it.source.consuming)
        it.reconnect(3)
        taken = it.source.held
        it.ledger.unavailable = False
        wait_until(lambda: it.source.acked == PREFETCH)

        assert taken == 0
        assert sorted(it.gateway.calls) == [(f"c{each}", 0) for each in range(PREFETCH)]


def test_deliveries_without_a_claim_are_dropped_with_a_lost_connection() -> None:
    marker = "kept of lost connections"
    with scene() as it:
        it.gateway.answering.clear()
        for each in range(PREFETCH):
            it.source.send(body_of(f"c{each}", message=marker))
        wait_until(lambda: len(it.gateway.calls) == 2)
        it.reconnect()
        wait_until(lambda: it.source.held == PREFETCH)
        in_memory = held(marker)
        it.gateway.answering.set()
        wait_until(lambda: it.source.acked == PREFETCH)

        # Those with a call, those of the last connection, and those that a thread processes.
        assert in_memory <= 2 * PREFETCH
        assert len(it.confirmed()) == len(it.gateway.calls) == PREFETCH
        assert it.confirmed().total() <= 2 + PREFETCH


def test_reconnections_while_the_ledger_is_stalled_leave_no_deliveries() -> None:
    marker = "left by lost connections"
    with scene() as it:
        it.ledger.moving.clear()
        for each in range(PREFETCH):
            it.source.send(body_of(f"c{each}", message=marker))
        wait_until(lambda: it.ledger.asked)
        it.reconnect()
        wait_until(lambda: it.source.held == PREFETCH)
        in_memory = held(marker)
        it.ledger.moving.set()
        wait_until(lambda: it.source.acked == PREFETCH)

        # Deliveries processed before the ledger stalled, and those of the last connection.
        assert in_memory <= 2 * PREFETCH
        assert len(it.confirmed()) == len(it.gateway.calls) == PREFETCH


def test_unpublishable_outcome_is_not_published_again_on_each_connection() -> None:
    with scene() as it:
        it.publisher.confirming.clear()
        it.send()
        wait_until(lambda: len(it.confirmed()) == PREFETCH)
        it.reconnect()
        wait_until(lambda: not it.source.consuming)
        it.reconnect()
        confirmed = it.confirmed().total()
        it.publisher.confirming.set()
        wait_until(lambda: it.source.acked == PREFETCH)

        assert confirmed <= 3 * PREFETCH
        assert len(it.gateway.calls) == PREFETCH


def test_call_in_flight_during_a_lost_connection_is_recorded_published_and_not_repeated() -> None:
    destinations: list[Any] = ["+16131234567", "+16131234568"]
    with scene(concurrency=1) as it:
        it.gateway.answering.clear()
        it.source.send(body_of("two", destination_address=destinations))
        wait_until(lambda: it.gateway.calls)
        it.source.break_off()
        wait_until(lambda: it.source.held == 1)
        it.gateway.answering.set()
        wait_until(lambda: it.source.acked)

        assert it.gateway.calls == [("two", 0), ("two", 1)]
        assert set(it.confirmed()) == {("two", 0), ("two", 1)}


def test_retry_after_a_lost_connection_goes_to_the_delay_queues() -> None:
    with scene(SlowGateway(unsent=1), concurrency=1) as it:
        it.gateway.answering.clear()
        it.send(1)
        wait_until(lambda: it.gateway.calls)
        it.source.break_off()
        wait_until(lambda: it.source.held == 1)
        it.gateway.answering.set()
        wait_until(lambda: it.source.acked)
        copies = [message for message in it.publisher.taken if message.delay is not None]

        assert it.gateway.calls == [("c0", 0)]
        # Its own, of a new version, and that of the redelivered command.
        assert sorted(str(copy.headers[TOKEN]) for copy in copies) == ["0", "1"]
