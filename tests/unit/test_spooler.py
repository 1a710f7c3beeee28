from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from bridge.adapters.clock import SystemClock
from bridge.concurrency.event_loop import LoopCaller
from bridge.domain.events import Event, make_event, outgoing_event
from bridge.ingest.durable_publisher import DurablePublisher, PendingEvent, Publishing
from bridge.ingest.spool_status import Bounds, SpoolStatus
from bridge.ingest.spooler import DRAINING, Spooler
from bridge.ops.metrics import Metrics
from bridge.ports import SPOOL_OVERHEAD, Spooled, SpoolUnavailable
from tests.fakes.publisher import FakePublisher
from tests.fakes.spool import FakeSpool
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

to_message = partial(outgoing_event, exchange="sms.events", unrouted_queue="sms.unrouted")


KEYS = (
    "date_time",
    "destination_address",
    "message",
    "message_id",
    "sender_address",
    "notification_id",
    "notification_date_time",
)
DATA = {**dict.fromkeys(KEYS), "type": "inbound", "recovered": False}


def id_of(number: int) -> str:
    """Return an event's id; ids sort by their numbers."""
    return f"{number:08}-0000-5000-8000-000000000000"


def event(number: int) -> Event:
    return make_event(
        id=id_of(number), type="sms.inbound.received", source="/sms-bridge/sms", time=1.8e9, data=DATA
    )


def ids(*numbers: int) -> list[str]:
    return [id_of(number) for number in numbers]


SIZE = len(event(1).body) + SPOOL_OVERHEAD


class ShiftedClock(SystemClock):
    """The real time, plus what the test adds to the wall clock."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


class Here(LoopCaller):
    """A loop caller that calls at once."""

    def __init__(self) -> None:
        self.loop: Any = self

    def call_soon(self, work: Callable[[], None]) -> None:
        work()


@dataclass
class SpoolerModel:
    """A spooler between a publisher and a spool that the test controls."""

    publisher: FakePublisher = field(default_factory=FakePublisher)
    spool: FakeSpool = field(default_factory=FakeSpool)
    clock: ShiftedClock = field(default_factory=ShiftedClock)
    metrics: Metrics = field(default_factory=lambda: Metrics(version="0.0.0"))
    crashed: threading.Event = field(default_factory=threading.Event)
    #: Results of the events, in order, by number.
    durable: dict[int, list[bool]] = field(default_factory=dict)
    spooler: Spooler = field(init=False)
    durable_publisher: DurablePublisher = field(init=False)

    def make(
        self, open_spool: Callable[[], FakeSpool] | None = None, bounds: Bounds | None = None
    ) -> SpoolerModel:
        publishing = Publishing(publisher=self.publisher, to_message=to_message, clock=self.clock)
        self.spooler = Spooler(
            open_spool or (lambda: self.spool),
            publishing,
            SpoolStatus(
                bounds or Bounds(max_bytes=1_000_000, max_age=3600), clock=self.clock, metrics=self.metrics
            ),
            timeout=0.2,
            on_crash=self.crashed.set,
        )
        self.durable_publisher = DurablePublisher(publishing, self.spooler)
        return self

    def start(self) -> SpoolerModel:
        self.spooler.start()
        wait_until(lambda: self.spooler.status.problem is None, what="an open spool")
        return self

    def take(self, *numbers: int) -> None:
        for number in numbers:
            confirmed = self.durable.setdefault(number, []).append
            self.durable_publisher.make_durable(event(number), confirmed, Here())

    def wait_durable(self, *numbers: int) -> list[bool]:
        """Wait until each has a result, and return the results."""
        wait_until(lambda: all(self.durable.get(number) for number in numbers), what="an answer for each")
        return [self.durable[number][0] for number in numbers]

    def published(self) -> list[str]:
        return [str(message.properties["message_id"]) for message in self.publisher.taken]

    def metric(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"sms_bridge_{name}")

    def wait_empty(self) -> None:
        wait_until(
            lambda: self.spooler.status.contents.events == 0 and not self.spool.ids, what="an empty spool"
        )


@pytest.fixture
def model() -> Iterator[SpoolerModel]:
    model = SpoolerModel().make()
    yield model
    model.publisher.close()
    model.spooler.stop()
    assert not model.crashed.is_set()


def test_confirmed_event_is_not_written_to_the_spool(model: SpoolerModel) -> None:
    model.start()
    model.take(1, 2, 3)

    assert model.wait_durable(1, 2, 3) == [True] * 3
    assert (model.published(), model.spool.commits) == (ids(1, 2, 3), 0)


def test_waiting_events_are_written_in_one_transaction(model: SpoolerModel) -> None:
    model.publisher.available = False
    model.take(*range(100))
    model.start()

    assert model.wait_durable(*range(100)) == [True] * 100
    assert (model.spool.ids, model.spool.commits) == (ids(*range(100)), 1)
    assert model.published() == []


def test_unconfirmed_event_is_spooled_and_removed_by_a_late_confirm(model: SpoolerModel) -> None:
    model.start()
    model.publisher.confirming.clear()
    model.take(1, 2)
    decided = model.wait_durable(1, 2)
    kept = model.spool.ids
    model.publisher.confirming.set()
    model.wait_empty()

    assert (decided, kept) == ([True, True], ids(1, 2))
    assert model.published() == ids(1, 2)
    assert (model.metric("spool_kept_total"), model.metric("spool_drained_total")) == (2, 2)


def test_lost_broker_is_not_waited_for(model: SpoolerModel) -> None:
    model.spooler._timeout = 60
    model.start()
    model.publisher.confirming.clear()
    model.take(1)
    model.publisher.available = False

    assert model.wait_durable(1) == [True]
    assert model.spool.ids == ids(1)


def test_oldest_events_are_published_first_and_none_in_flight_twice(model: SpoolerModel) -> None:
    model.start()
    model.publisher.confirming.clear()
    model.take(1)
    model.wait_durable(1)
    model.publisher.available = False
    model.take(2, 3)
    model.wait_durable(2, 3)
    model.publisher.available = True
    wait_until(lambda: len(model.published()) == 3, what="the drain")
    model.publisher.confirming.set()
    model.wait_empty()

    assert model.published() == ids(1, 2, 3)


def test_flush_is_limited_to_a_number_of_events_in_flight(model: SpoolerModel) -> None:
    model.publisher.available = False
    model.take(*range(200))
    model.start()
    model.wait_durable(*range(200))
    model.publisher.confirming.clear()
    model.publisher.available = True
    wait_until(lambda: len(model.published()) == DRAINING, what="the drain")
    model.take(1000)
    model.wait_durable(1000)

    assert len(model.published()) == DRAINING + 1
    model.publisher.confirming.set()
    model.wait_empty()
    assert sorted(model.published()) == sorted(ids(*range(200), 1000))


def test_events_of_an_earlier_process_are_flushed(model: SpoolerModel) -> None:
    model.spool.change([event(1), event(2)], [], now=1.8e9 - 60)
    model.start()
    model.wait_empty()

    assert model.published() == ids(1, 2)


def test_events_of_a_full_publisher_are_spooled_and_flushed_later() -> None:
    model = SpoolerModel(publisher=FakePublisher(capacity=2)).make().start()
    model.publisher.confirming.clear()
    model.take(*range(10))
    model.wait_durable(*range(10))
    model.publisher.confirming.set()
    model.wait_empty()

    assert sorted(model.published()) == ids(*range(10))
    model.publisher.close()
    model.spooler.stop()


def test_event_accepted_from_a_publisher_that_failed_is_flushed(model: SpoolerModel) -> None:
    """The publisher is full just after the spool's thread counted the event as published."""
    model.start()
    model.publisher.available = False
    unconfirmed = PendingEvent(event(1), model.durable.setdefault(1, []).append, since=0.0)
    model.spooler.watched[unconfirmed] = True
    model.take(2)
    model.wait_durable(1, 2)
    model.publisher.available = True
    wait_until(lambda: model.spool.ids == ids(1), what="what nobody has in hand to be drained")
    model.spooler.unwatch(unconfirmed)
    model.wait_empty()

    assert model.published() == ids(2, 1)


def test_broken_spool_refuses_events_with_a_reason_until_it_is_fixed(
    model: SpoolerModel,
) -> None:
    model.start()
    model.publisher.available = False
    with capture_logs() as lines:
        model.spool.broken = "/spool: the disk is full"
        model.take(1)
        refused = model.wait_durable(1)
        wait_until(lambda: model.spooler.status.problem is not None, what="the trouble")
        problem, accepting = model.spooler.status.problem, model.metric("spool_accepting")
        model.spool.broken = None
        wait_until(lambda: model.spooler.status.problem is None, what="no more trouble")
    model.take(2)

    assert (refused, model.wait_durable(2)) == ([False], [True])
    assert problem == ("failing", "/spool: the disk is full")
    assert accepting == 0
    assert [line["event"] for line in lines] == ["spool.refusing", "spool.accepting"]


def test_spool_that_breaks_while_idle_reports_it_and_stays_readable(model: SpoolerModel) -> None:
    model.start()
    model.spool.broken = "/spool: another process has it"
    wait_until(lambda: model.spooler.status.problem is not None, what="the trouble")
    problem, accepting = model.spooler.status.problem, model.metric("spool_accepting")
    # As of a spool that is readable, but not writable where a restart would find it.
    model.spool._kept[id_of(1)] = Spooled(1, event(1)), 1.8e9
    wait_until(lambda: model.published() == ids(1), what="the drain")
    still = model.spooler.status.problem
    model.spool.broken = None
    wait_until(lambda: model.spooler.status.problem is None, what="no more trouble")

    assert problem == ("failing", "/spool: another process has it")
    assert accepting == 0
    assert still == problem
    model.wait_empty()


def test_events_in_a_new_file_are_flushed_though_its_numbers_restart(model: SpoolerModel) -> None:
    model.publisher.available = False
    model.take(*range(10))
    model.start()
    model.wait_durable(*range(10))
    model.publisher.available = True
    model.wait_empty()
    model.publisher.available = False
    model.take(11, 12)
    model.wait_durable(11, 12)
    model.spool.move()
    model.publisher.available = True
    model.wait_empty()

    assert sorted(model.published()[-2:]) == ids(11, 12)


@pytest.mark.parametrize("fixed", [False, True])
def test_event_refused_by_a_broken_spool_is_pending_until_the_broker_or_the_spool_has_it(
    model: SpoolerModel, fixed: bool
) -> None:
    model.start()
    model.publisher.confirming.clear()
    model.spool.broken = "/spool: the disk is full"
    model.take(1)
    wait_until(lambda: model.spooler._open or model.durable[1], what="a try of the spool")
    earlier_in_doubt = list(model.durable[1])
    if fixed:
        model.spool.broken = None
        decided = model.wait_durable(1)
        model.publisher.confirming.set()
    else:
        model.publisher.confirming.set()
        decided = model.wait_durable(1)
        model.spool.broken = None
    model.wait_empty()
    wait_until(lambda: model.spooler.status.problem is None, what="no more trouble")

    assert (earlier_in_doubt, decided) == ([], [True])
    assert (model.published(), model.spool.commits > 0) == (ids(1), fixed)


def test_confirmed_event_that_a_broken_spool_can_not_delete_is_published_once(model: SpoolerModel) -> None:
    model.publisher.available = False
    model.take(*range(200))
    model.start()
    model.wait_durable(*range(200))
    model.spool.broken = "/spool: the disk is full"
    model.publisher.available = True
    wait_until(lambda: len(model.published()) == 200, what="the drain")
    model.spool.broken = None
    model.wait_empty()

    assert model.published() == ids(*range(200))


def test_spool_that_can_not_be_opened_is_tried_again() -> None:
    model = SpoolerModel()
    causes = ["/spool: another process has it"]

    def open_spool() -> FakeSpool:
        if causes:
            raise SpoolUnavailable(causes[0])
        return model.spool

    model.make(open_spool)
    model.publisher.available = False
    model.take(1)
    model.spooler.start()
    refused = model.wait_durable(1)
    wait_until(
        lambda: model.spooler.status.problem == ("closed", "/spool: another process has it"),
        what="the reason",
    )
    causes.clear()
    wait_until(lambda: model.spooler.status.problem is None, what="an open spool")
    model.take(2)

    assert refused == [False]
    assert model.wait_durable(2) == [True]
    model.spooler.stop()
    assert model.spool.closed
    model.publisher.close()


def test_full_spool_refuses_events_until_one_is_flushed() -> None:
    model = SpoolerModel().make(bounds=Bounds(max_bytes=2 * SIZE, max_age=3600)).start()
    model.publisher.available = False
    model.take(1, 2, 3)
    decided = model.wait_durable(1, 2, 3)
    wait_until(lambda: model.spooler.status.problem is not None, what="the trouble")
    problem = model.spooler.status.problem
    model.publisher.available = True
    wait_until(lambda: model.spooler.status.problem is None, what="room")

    assert decided == [True, True, False]
    assert problem == ("full", f"{2 * SIZE} of {2 * SIZE} bytes are taken")
    model.publisher.close()
    model.spooler.stop()


def test_full_spool_refuses_events_and_drops_none(model: SpoolerModel) -> None:
    model.start()
    model.publisher.available = False
    model.take(1)
    model.wait_durable(1)
    model.clock.ahead = 3601
    wait_until(lambda: model.spooler.status.problem is not None, what="the trouble")
    problem, age = model.spooler.status.problem, model.metric("spool_oldest_age_seconds")
    model.take(2)
    refused = model.wait_durable(2)
    model.publisher.available = True
    model.wait_empty()

    assert refused == [False]
    assert problem == ("old", "its oldest event is older than 3600 s")
    assert age is not None
    assert age > 3600
    assert model.published() == ids(1)


def test_waiting_events_are_written_before_the_stop(model: SpoolerModel) -> None:
    model.start()
    model.publisher.available = False
    model.take(*range(50))
    model.spooler.stop()

    assert model.wait_durable(*range(50)) == [True] * 50
    assert (model.spool.ids, model.spool.closed) == (ids(*range(50)), True)


def test_published_events_without_a_confirm_are_written_before_the_stop() -> None:
    model = SpoolerModel().make().start()
    model.publisher.confirming.clear()
    model.take(1, 2)
    model.spooler.stop()

    assert model.wait_durable(1, 2) == [True, True]
    assert (model.spool.ids, model.spool.closed) == (ids(1, 2), True)
    model.publisher.close()


def test_filling_and_emptying_are_logged_once(model: SpoolerModel) -> None:
    with capture_logs() as lines:
        model.start()
        model.publisher.available = False
        model.take(1)
        model.wait_durable(1)
        model.take(2)
        model.wait_durable(2)
        model.publisher.available = True
        model.wait_empty()

    assert [line["event"] for line in lines] == ["spool.accepting", "spool.filling", "spool.drained"]
