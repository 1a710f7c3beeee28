from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from bridge.domain.errors import InvalidNotification
from bridge.domain.event_messages import outgoing_event
from bridge.domain.events import DELIVERED, event_id, make_event
from bridge.domain.notification_events import receive
from bridge.ingest.deduplication import Once
from bridge.ingest.durability import Safekeeping
from bridge.ingest.ingest import Ingest
from bridge.ops.metrics import Metrics
from bridge.ports.serving import Taken
from tests.fakes.keeper import FakeKeeper
from tests.fakes.publisher import FakePublisher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator

    from bridge.domain.events import Event

#: The event of a receipt whose message the ledger knows.
OURS = make_event(
    id=event_id("ours"),
    type=DELIVERED,
    source="/sms-bridge/sms",
    time=1.8e9,
    data={
        "destination_address": "+16131234567",
        "message_id": "m1",
        "delivery_status": "DeliveredToTerminal",
        "notification_id": None,
        "notification_date_time": None,
        "type": "deliveryInfo",
        "recovered": False,
    },
)
INBOUND = (
    b'{"inboundSMSMessageNotification":{"inboundSMSMessage":{"dateTime":1525895987,"destinationAddress":'
    b'"+16137001234","message":"a secret text","messageId":"O957s10JReNV","senderAddress":"+16139998877"},'
    b'"dateTime":1525895987,"id":"441fc36e-aab7-45dd-905c-4aaec7a7464d"}}'
)


class HandClock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def publisher() -> Iterator[FakePublisher]:
    fake = FakePublisher()
    yield fake
    fake.close()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(version="0.0.0")


def make_ingest(
    publisher: FakePublisher,
    clock: HandClock,
    metrics: Metrics,
    keeper: FakeKeeper | None = None,
    *,
    confirm_timeout: float = 20.0,
    own: Callable[[Event, float], Awaitable[Event]] | None = None,
) -> Ingest:
    tell = partial(outgoing_event, exchange="sms.events", unrouted_queue="sms.unrouted")
    return Ingest(
        Safekeeping(publisher, tell=tell),
        receive=partial(receive, source="/sms-bridge/sms", camel_case=False),
        clock=clock,
        metrics=metrics,
        once=Once(keeper or FakeKeeper()),
        confirm_timeout=confirm_timeout,
        own=own,
    )


@pytest.fixture
def ingest(publisher: FakePublisher, clock: HandClock, metrics: Metrics) -> Ingest:
    return make_ingest(publisher, clock, metrics)


@pytest.fixture(scope="module")
def standing() -> Iterator[Ingest]:
    """One ingest for all examples of a property."""
    publisher = FakePublisher()
    yield make_ingest(publisher, HandClock(), Metrics(version="0.0.0"), confirm_timeout=10)
    publisher.close()


async def bring(ingest: Ingest, body: bytes = INBOUND) -> Taken:
    """Hand `body` over and return what became of it."""
    answer: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()

    def answered(taken: Taken | Exception) -> None:
        if isinstance(taken, Exception):
            answer.set_exception(taken)
        elif not answer.cancelled():
            answer.set_result(taken)

    ingest.take(body, answered)
    return await answer


def take(ingest: Ingest, body: bytes = INBOUND) -> tuple[Taken | InvalidNotification, list[Any]]:
    """Hand `body` over and return what became of it and what was logged."""
    with capture_logs() as lines:
        try:
            # In debug mode the loop refuses to be touched from the publisher's thread.
            taken: Taken | InvalidNotification = asyncio.run(bring(ingest, body), debug=True)
        except InvalidNotification as error:
            taken = error
    return taken, list(lines)


async def noted(keeper: FakeKeeper) -> None:
    """Wait until something is noted."""
    async with asyncio.timeout(10):
        while not keeper.noted:
            await asyncio.sleep(0.01)


def test_a_confirmed_notification_is_durable_and_leaves_one_line(
    ingest: Ingest, publisher: FakePublisher, metrics: Metrics
) -> None:
    taken, lines = take(ingest)
    (message,) = publisher.taken

    assert taken is Taken.DURABLE
    assert lines == [
        {
            "event": "notification.accepted",
            "log_level": "info",
            "type": "sms.inbound.received",
            "event_id": message.properties["message_id"],
            "status": 204,
            "ms": 0.0,
        }
    ]
    labels = {"type": "sms.inbound.received", "code": "204"}
    assert metrics.registry.get_sample_value("sms_bridge_notifications_total", labels) == 1


def test_a_notification_that_was_an_event_before_is_answered_and_not_published_again(
    ingest: Ingest, publisher: FakePublisher, metrics: Metrics
) -> None:
    take(ingest)
    taken, lines = take(ingest)
    (message,) = publisher.taken

    assert taken is Taken.DURABLE
    assert [(line["event"], line["event_id"], line["status"]) for line in lines] == [
        ("notification.repeated", message.properties["message_id"], 204)
    ]
    assert metrics.registry.get_sample_value("sms_bridge_notifications_repeated_total") == 1
    labels = {"type": "sms.inbound.received", "code": "204"}
    assert metrics.registry.get_sample_value("sms_bridge_notifications_total", labels) == 2
    assert metrics.registry.get_sample_value("sms_bridge_webhook_to_confirm_seconds_count") == 1


def test_what_nobody_can_tell_apart_from_a_new_one_is_published_with_the_same_id(
    publisher: FakePublisher, clock: HandClock, metrics: Metrics
) -> None:
    ingest = make_ingest(publisher, clock, metrics, FakeKeeper(away=True))
    answers = [take(ingest)[0] for _ in range(2)]
    one, other = publisher.taken

    assert answers == [Taken.DURABLE] * 2
    assert one.properties["message_id"] == other.properties["message_id"]


def test_an_event_goes_to_the_events_exchange_or_to_the_unrouted_queue(
    ingest: Ingest, publisher: FakePublisher
) -> None:
    take(ingest)
    (message,) = publisher.taken

    assert (message.exchange, message.routing_key) == ("sms.events", "sms.inbound.received")
    assert message.fallback == "sms.unrouted"


def test_an_unconfirmed_notification_has_to_come_again_and_is_no_second_event_then(
    publisher: FakePublisher, clock: HandClock, metrics: Metrics
) -> None:
    keeper = FakeKeeper()
    ingest = make_ingest(publisher, clock, metrics, keeper, confirm_timeout=0.2)

    async def scenario() -> list[Taken]:
        publisher.confirming.clear()
        answers = [await bring(ingest), await bring(ingest)]
        publisher.confirming.set()
        await noted(keeper)
        return [*answers, await bring(ingest)]

    with capture_logs() as lines:
        answers = asyncio.run(scenario(), debug=True)
    (message,) = publisher.taken

    assert answers == [Taken.NOT_NOW, Taken.NOT_NOW, Taken.DURABLE]
    assert keeper.noted[:1] == [message.properties["message_id"]]
    assert [(line["event"], line["log_level"], line["status"]) for line in lines] == [
        *[("notification.refused", "warning", 503)] * 2,
        ("notification.repeated", "info", 204),
    ]
    labels = {"type": "sms.inbound.received", "code": "503"}
    assert metrics.registry.get_sample_value("sms_bridge_notifications_total", labels) == 2


class Hanging(FakeKeeper):
    """A memory that says nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.going = asyncio.Event()

    def known(self, ids: Collection[str], told: Callable[[Collection[str]], None]) -> None:
        def go(_: object) -> None:
            super(Hanging, self).known(ids, told)

        self._waiting = asyncio.ensure_future(self.going.wait())
        self._waiting.add_done_callback(go)


def test_the_ledger_and_the_broker_share_the_time_of_a_request(
    publisher: FakePublisher, clock: HandClock, metrics: Metrics
) -> None:
    async def scenario() -> None:
        keeper = Hanging()

        async def own(event: Event, _until: float) -> Event:
            await keeper.going.wait()
            return event

        ingest = make_ingest(publisher, clock, metrics, keeper, confirm_timeout=0.2, own=own)
        async with asyncio.timeout(10):
            assert await bring(ingest) is Taken.NOT_NOW
        before = list(publisher.taken)
        keeper.going.set()
        await noted(keeper)

        assert await bring(ingest) is Taken.DURABLE
        assert (before, len(publisher.taken)) == ([], 1)

    asyncio.run(scenario(), debug=True)


def test_a_receipt_that_came_before_anybody_knew_whose_it_is_is_a_repeat_afterwards(
    publisher: FakePublisher, clock: HandClock, metrics: Metrics
) -> None:
    keeper = FakeKeeper()
    known = iter([False, True, False])

    async def own(event: Event, _until: float) -> Event:
        return OURS if next(known) else event

    ingest = make_ingest(publisher, clock, metrics, keeper, own=own)
    answers = [take(ingest)[0] for _ in range(3)]
    (message,) = publisher.taken

    assert answers == [Taken.DURABLE] * 3
    # So that nobody asks the provider for what has been told.
    assert keeper.noted == [message.properties["message_id"], OURS.id]


def test_a_receipt_of_ours_is_a_repeat_also_when_nobody_can_tell_whose_it_is(
    publisher: FakePublisher, clock: HandClock, metrics: Metrics
) -> None:
    known = iter([True, False])

    async def own(event: Event, _until: float) -> Event:
        return OURS if next(known) else event

    ingest = make_ingest(publisher, clock, metrics, own=own)
    answers = [take(ingest)[0] for _ in range(2)]

    assert answers == [Taken.DURABLE] * 2
    assert [message.properties["message_id"] for message in publisher.taken] == [OURS.id]


def test_a_server_that_ends_waits_for_no_confirm(
    ingest: Ingest, publisher: FakePublisher, clock: HandClock, metrics: Metrics
) -> None:
    publisher.confirming.clear()
    first, _ = take(make_ingest(publisher, clock, metrics, confirm_timeout=0.05))
    publisher.confirming.set()
    second, _ = take(ingest)
    ids = {message.properties["message_id"] for message in publisher.taken}

    # Each has an event loop of its own: what was under way on the first ended with it.
    assert (first, second) == (Taken.NOT_NOW, Taken.DURABLE)
    assert len(ids) == 1


def test_nothing_is_published_while_the_broker_is_not_available(
    ingest: Ingest, publisher: FakePublisher
) -> None:
    publisher.available = False

    taken, _ = take(ingest)

    assert (taken, publisher.taken) == (Taken.NOT_NOW, [])


def test_what_is_no_notification_is_refused_with_its_reasons(
    ingest: Ingest, publisher: FakePublisher, metrics: Metrics
) -> None:
    taken, lines = take(ingest, b"[]")

    assert isinstance(taken, InvalidNotification)
    assert publisher.taken == []
    assert [(line["event"], line["status"], line["reasons"]) for line in lines] == [
        ("notification.refused", 400, taken.reasons)
    ]
    labels = {"type": "none", "code": "400"}
    assert metrics.registry.get_sample_value("sms_bridge_notifications_total", labels) == 1


KINDS = st.sampled_from(
    [
        "inboundSMSMessageNotification",
        "outboundSMSMessageNotification",
        "smsSubscriptionCancellationNotification",
        "smsEventNotification",
        "deliveryInfoNotification",
        "another",
    ]
)
KEYS = st.sampled_from(["inboundSMSMessage", "deliveryInfo", "link", "href", "id", "dateTime", "messageId"])
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters())),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=10,
)
BODIES = st.one_of(
    st.binary(),
    st.dictionaries(KINDS, VALUES, max_size=2).map(lambda body: json.dumps(body).encode()),
    st.integers(1, 30_000).map(lambda depth: b'{"a":' * depth + b"{}" + b"}" * depth),
    st.integers(1, 30_000).map(lambda depth: b'{"a":{"b":' + b"[" * depth + b"]" * depth + b"}}"),
)


# A machine under load is no failure.
@settings(deadline=None)
@given(BODIES)
def test_any_body_is_either_an_event_or_no_notification(standing: Ingest, body: bytes) -> None:
    taken, lines = take(standing, body)

    assert taken is Taken.DURABLE or isinstance(taken, InvalidNotification)
    assert len(lines) == 1


def test_no_line_tells_a_number_or_a_text(ingest: Ingest, publisher: FakePublisher) -> None:
    told = [take(ingest), take(ingest, INBOUND[:-1]), take(ingest, b'{"+16137001234":"a secret text"}')]
    publisher.available = False
    told.append(take(ingest))

    assert "6137001234" not in repr(told)
    assert "secret" not in repr(told)


def test_a_cancelled_request_leaves_nothing_behind_for_its_late_confirm(
    ingest: Ingest, publisher: FakePublisher
) -> None:
    async def scenario() -> list[object]:
        broken: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: broken.append(context))
        publisher.confirming.clear()
        taking = asyncio.create_task(bring(ingest))
        await asyncio.sleep(0)
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        publisher.confirming.set()

        assert taking.cancelled()
        assert await bring(ingest) is Taken.DURABLE
        return broken

    assert asyncio.run(scenario()) == []


def test_refusals_at_the_door_are_all_counted_and_logged_once_a_minute_for_each_status(
    ingest: Ingest, clock: HandClock, metrics: Metrics
) -> None:
    with capture_logs() as lines:
        for status in (401, 401, 413, 401):
            ingest.refused(status, "203.0.113.7")
        clock.time += 60
        ingest.refused(401)

    assert [(line["status"], line["client"]) for line in lines] == [
        (401, "203.0.113.7"),
        (413, "203.0.113.7"),
        (401, None),
    ]
    labels = {"type": "none", "code": "401"}
    assert metrics.registry.get_sample_value("sms_bridge_notifications_total", labels) == 4
