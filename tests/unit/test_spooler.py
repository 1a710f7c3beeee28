from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from bridge.adapters.clock import SystemClock
from bridge.concurrency.event_loop import Relay
from bridge.domain.events import Event, make_event, outgoing_event
from bridge.ingest.safekeeping import AwaitedEvent, Publishing, Safekeeping
from bridge.ingest.spool_status import Bounds, SpoolStatus
from bridge.ingest.spooler import DRAINING, Spooler
from bridge.ops.metrics import Metrics
from bridge.ports import SPOOL_OVERHEAD, Spooled, SpoolUnavailable
from tests.fakes.publisher import FakePublisher
from tests.fakes.spool import FakeSpool
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

tell = partial(outgoing_event, exchange="sms.events", unrouted_queue="sms.unrouted")


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
    """Return an event's id; in the order of their numbers."""
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


class Here(Relay):
    """The way to a loop that does everything at once."""

    def __init__(self) -> None:
        self.loop: Any = self

    def call_soon(self, work: Callable[[], None]) -> None:
        work()


@dataclass
class World:
    """A spooler between a publisher and a spool that the test commands."""

    publisher: FakePublisher = field(default_factory=FakePublisher)
    spool: FakeSpool = field(default_factory=FakeSpool)
    clock: ShiftedClock = field(default_factory=ShiftedClock)
    metrics: Metrics = field(default_factory=lambda: Metrics(version="0.0.0"))
    crashed: threading.Event = field(default_factory=threading.Event)
    #: What became of the events, in order, by number.
    durable: dict[int, list[bool]] = field(default_factory=dict)
    spooler: Spooler = field(init=False)
    safekeeping: Safekeeping = field(init=False)

    def make(self, open_spool: Callable[[], FakeSpool] | None = None, bounds: Bounds | None = None) -> World:
        publishing = Publishing(publisher=self.publisher, tell=tell, clock=self.clock)
        self.spooler = Spooler(
            open_spool or (lambda: self.spool),
            publishing,
            SpoolStatus(
                bounds or Bounds(max_bytes=1_000_000, max_age=3600), clock=self.clock, metrics=self.metrics
            ),
            patience=0.2,
            on_crash=self.crashed.set,
        )
        self.safekeeping = Safekeeping(publishing, self.spooler)
        return self

    def start(self) -> World:
        self.spooler.start()
        wait_until(lambda: self.spooler.status.trouble is None, what="an open spool")
        return self

    def take(self, *numbers: int) -> None:
        for number in numbers:
            told = self.durable.setdefault(number, []).append
            self.safekeeping.make_durable(event(number), told, Here())

    def wait_durable(self, *numbers: int) -> list[bool]:
        """Wait until each is decided, and return how."""
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
def world() -> Iterator[World]:
    world = World().make()
    yield world
    world.publisher.close()
    world.spooler.stop()
    assert not world.crashed.is_set()


def test_what_the_broker_confirms_never_touches_the_spool(world: World) -> None:
    world.start()
    world.take(1, 2, 3)

    assert world.wait_durable(1, 2, 3) == [True] * 3
    assert (world.published(), world.spool.commits) == (ids(1, 2, 3), 0)


def test_what_waits_together_is_one_transaction(world: World) -> None:
    world.publisher.available = False
    world.take(*range(100))
    world.start()

    assert world.wait_durable(*range(100)) == [True] * 100
    assert (world.spool.ids, world.spool.commits) == (ids(*range(100)), 1)
    assert world.published() == []


def test_what_is_not_confirmed_soon_is_kept_and_a_late_confirm_takes_it_out_again(world: World) -> None:
    world.start()
    world.publisher.confirming.clear()
    world.take(1, 2)
    decided = world.wait_durable(1, 2)
    kept = world.spool.ids
    world.publisher.confirming.set()
    world.wait_empty()

    assert (decided, kept) == ([True, True], ids(1, 2))
    assert world.published() == ids(1, 2)
    assert (world.metric("spool_kept_total"), world.metric("spool_drained_total")) == (2, 2)


def test_a_broker_that_is_lost_is_not_waited_for(world: World) -> None:
    world.spooler._patience = 60
    world.start()
    world.publisher.confirming.clear()
    world.take(1)
    world.publisher.available = False

    assert world.wait_durable(1) == [True]
    assert world.spool.ids == ids(1)


def test_the_oldest_go_out_first_and_nothing_twice_that_the_publisher_has_in_hand(world: World) -> None:
    world.start()
    world.publisher.confirming.clear()
    world.take(1)
    world.wait_durable(1)
    world.publisher.available = False
    world.take(2, 3)
    world.wait_durable(2, 3)
    world.publisher.available = True
    wait_until(lambda: len(world.published()) == 3, what="the drain")
    world.publisher.confirming.set()
    world.wait_empty()

    assert world.published() == ids(1, 2, 3)


def test_only_so_many_are_drained_at_once(world: World) -> None:
    world.publisher.available = False
    world.take(*range(200))
    world.start()
    world.wait_durable(*range(200))
    world.publisher.confirming.clear()
    world.publisher.available = True
    wait_until(lambda: len(world.published()) == DRAINING, what="the drain")
    world.take(1000)
    world.wait_durable(1000)

    assert len(world.published()) == DRAINING + 1
    world.publisher.confirming.set()
    world.wait_empty()
    assert sorted(world.published()) == sorted(ids(*range(200), 1000))


def test_what_a_process_before_has_left_is_drained(world: World) -> None:
    world.spool.change([event(1), event(2)], [], now=1.8e9 - 60)
    world.start()
    world.wait_empty()

    assert world.published() == ids(1, 2)


def test_a_publisher_that_is_full_has_events_kept_and_drained_later() -> None:
    world = World(publisher=FakePublisher(room=2)).make().start()
    world.publisher.confirming.clear()
    world.take(*range(10))
    world.wait_durable(*range(10))
    world.publisher.confirming.set()
    world.wait_empty()

    assert sorted(world.published()) == ids(*range(10))
    world.publisher.close()
    world.spooler.stop()


def test_an_event_that_was_taken_over_and_then_not_published_is_drained(world: World) -> None:
    """The publisher is found full just after the spool's thread took the event for published."""
    world.start()
    world.publisher.available = False
    unconfirmed = AwaitedEvent(event(1), world.durable.setdefault(1, []).append, since=0.0)
    world.spooler.watched[unconfirmed] = True
    world.take(2)
    world.wait_durable(1, 2)
    world.publisher.available = True
    wait_until(lambda: world.spool.ids == ids(1), what="what nobody has in hand to be drained")
    world.spooler.unwatch(unconfirmed)
    world.wait_empty()

    assert world.published() == ids(2, 1)


def test_a_spool_that_is_broken_refuses_says_why_and_takes_events_again_when_it_is_mended(
    world: World,
) -> None:
    world.start()
    world.publisher.available = False
    with capture_logs() as lines:
        world.spool.broken = "/spool: the disk is full"
        world.take(1)
        refused = world.wait_durable(1)
        wait_until(lambda: world.spooler.status.trouble is not None, what="the trouble")
        trouble, accepting = world.spooler.status.trouble, world.metric("spool_accepting")
        world.spool.broken = None
        wait_until(lambda: world.spooler.status.trouble is None, what="no more trouble")
    world.take(2)

    assert (refused, world.wait_durable(2)) == ([False], [True])
    assert trouble == ("failing", "/spool: the disk is full")
    assert accepting == 0
    assert [line["event"] for line in lines] == ["spool.refusing", "spool.accepting"]


def test_a_spool_that_breaks_while_nobody_needs_it_says_so_and_may_be_read_all_the_same(world: World) -> None:
    world.start()
    world.spool.broken = "/spool: another process has it"
    wait_until(lambda: world.spooler.status.trouble is not None, what="the trouble")
    trouble, accepting = world.spooler.status.trouble, world.metric("spool_accepting")
    # As of one that can be read, but not written where a restart would find it.
    world.spool._kept[id_of(1)] = Spooled(1, event(1)), 1.8e9
    wait_until(lambda: world.published() == ids(1), what="the drain")
    still = world.spooler.status.trouble
    world.spool.broken = None
    wait_until(lambda: world.spooler.status.trouble is None, what="no more trouble")

    assert trouble == ("failing", "/spool: another process has it")
    assert accepting == 0
    assert still == trouble
    world.wait_empty()


def test_what_goes_on_in_another_file_is_drained_though_its_numbers_begin_anew(world: World) -> None:
    world.publisher.available = False
    world.take(*range(10))
    world.start()
    world.wait_durable(*range(10))
    world.publisher.available = True
    world.wait_empty()
    world.publisher.available = False
    world.take(11, 12)
    world.wait_durable(11, 12)
    world.spool.move()
    world.publisher.available = True
    world.wait_empty()

    assert sorted(world.published()[-2:]) == ids(11, 12)


@pytest.mark.parametrize("mended", [False, True])
def test_what_a_broken_spool_can_not_keep_is_decided_when_the_broker_or_the_spool_has_it(
    world: World, mended: bool
) -> None:
    world.start()
    world.publisher.confirming.clear()
    world.spool.broken = "/spool: the disk is full"
    world.take(1)
    wait_until(lambda: world.spooler._open or world.durable[1], what="a try of the spool")
    undecided = list(world.durable[1])
    if mended:
        world.spool.broken = None
        decided = world.wait_durable(1)
        world.publisher.confirming.set()
    else:
        world.publisher.confirming.set()
        decided = world.wait_durable(1)
        world.spool.broken = None
    world.wait_empty()
    wait_until(lambda: world.spooler.status.trouble is None, what="no more trouble")

    assert (undecided, decided) == ([], [True])
    assert (world.published(), world.spool.commits > 0) == (ids(1), mended)


def test_what_the_broker_has_and_a_broken_spool_can_not_forget_is_published_only_once(world: World) -> None:
    world.publisher.available = False
    world.take(*range(200))
    world.start()
    world.wait_durable(*range(200))
    world.spool.broken = "/spool: the disk is full"
    world.publisher.available = True
    wait_until(lambda: len(world.published()) == 200, what="the drain")
    world.spool.broken = None
    world.wait_empty()

    assert world.published() == ids(*range(200))


def test_a_spool_that_can_not_be_opened_is_tried_again() -> None:
    world = World()
    causes = ["/spool: another process has it"]

    def open_spool() -> FakeSpool:
        if causes:
            raise SpoolUnavailable(causes[0])
        return world.spool

    world.make(open_spool)
    world.publisher.available = False
    world.take(1)
    world.spooler.start()
    refused = world.wait_durable(1)
    wait_until(
        lambda: world.spooler.status.trouble == ("closed", "/spool: another process has it"),
        what="the reason",
    )
    causes.clear()
    wait_until(lambda: world.spooler.status.trouble is None, what="an open spool")
    world.take(2)

    assert refused == [False]
    assert world.wait_durable(2) == [True]
    world.spooler.stop()
    assert world.spool.closed
    world.publisher.close()


def test_a_full_spool_takes_nothing_more_until_something_is_out() -> None:
    world = World().make(bounds=Bounds(max_bytes=2 * SIZE, max_age=3600)).start()
    world.publisher.available = False
    world.take(1, 2, 3)
    decided = world.wait_durable(1, 2, 3)
    wait_until(lambda: world.spooler.status.trouble is not None, what="the trouble")
    trouble = world.spooler.status.trouble
    world.publisher.available = True
    wait_until(lambda: world.spooler.status.trouble is None, what="room")

    assert decided == [True, True, False]
    assert trouble == ("full", f"{2 * SIZE} of {2 * SIZE} bytes are taken")
    world.publisher.close()
    world.spooler.stop()


def test_a_spool_that_nobody_drains_takes_nothing_more_and_drops_nothing(world: World) -> None:
    world.start()
    world.publisher.available = False
    world.take(1)
    world.wait_durable(1)
    world.clock.ahead = 3601
    wait_until(lambda: world.spooler.status.trouble is not None, what="the trouble")
    trouble, age = world.spooler.status.trouble, world.metric("spool_oldest_age_seconds")
    world.take(2)
    refused = world.wait_durable(2)
    world.publisher.available = True
    world.wait_empty()

    assert refused == [False]
    assert trouble == ("old", "its oldest event is older than 3600 s")
    assert age is not None
    assert age > 3600
    assert world.published() == ids(1)


def test_what_waits_when_it_stops_is_written_first(world: World) -> None:
    world.start()
    world.publisher.available = False
    world.take(*range(50))
    world.spooler.stop()

    assert world.wait_durable(*range(50)) == [True] * 50
    assert (world.spool.ids, world.spool.closed) == (ids(*range(50)), True)


def test_how_it_fills_and_empties_is_logged_once(world: World) -> None:
    with capture_logs() as lines:
        world.start()
        world.publisher.available = False
        world.take(1)
        world.wait_durable(1)
        world.take(2)
        world.wait_durable(2)
        world.publisher.available = True
        world.wait_empty()

    assert [line["event"] for line in lines] == ["spool.accepting", "spool.filling", "spool.drained"]
