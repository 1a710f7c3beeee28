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
from bridge.domain.events import outgoing_event
from bridge.domain.receipts import receipt_event
from bridge.ingest.durable_publisher import DurablePublisher, Publishing
from bridge.ingest.execution import NotificationSettings
from bridge.ingest.executor import NotificationExecutor
from bridge.ingest.notification import NotificationRules
from bridge.ingest.report import NotificationReport
from bridge.ops.metrics import Metrics
from bridge.ports.http_results import NotificationResult
from tests.fakes.clock import HandClock
from tests.fakes.memory import FakeMemory
from tests.fakes.publisher import FakePublisher
from tests.harness.commands import NOW
from tests.unit.sent_messages import STYLE, sent

if TYPE_CHECKING:
    from collections.abc import Iterator


#: A sent submission, its receipt as the provider posts it, and the event of a status query.
SENT = sent("c1")
RECEIPT = (
    b'{"deliveryInfoNotification":{"deliveryInfo":{"address":"+16131234567","deliveryStatus":'
    b'"DeliveredToTerminal","messageId":"m-c1"},"id":"n1"}}'
)
OURS = receipt_event(SENT, "DeliveredToTerminal", style=STYLE, now=NOW)
INBOUND = (
    b'{"inboundSMSMessageNotification":{"inboundSMSMessage":{"dateTime":1525895987,"destinationAddress":'
    b'"+16137001234","message":"a secret text","messageId":"O957s10JReNV","senderAddress":"+16139998877"},'
    b'"dateTime":1525895987,"id":"441fc36e-aab7-45dd-905c-4aaec7a7464d"}}'
)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def publisher() -> Iterator[FakePublisher]:
    fake = FakePublisher()
    yield fake
    fake.close()


def make_ingest(
    publisher: FakePublisher,
    clock: HandClock,
    metrics: Metrics,
    memory: FakeMemory | None = None,
    *,
    confirm_timeout: float = 20.0,
    limit: int = 100,
) -> NotificationExecutor:
    to_message = partial(outgoing_event, exchange="sms.events", unrouted_queue="sms.unrouted")
    return NotificationExecutor(
        NotificationSettings(
            rules=NotificationRules(style=STYLE), confirm_timeout=confirm_timeout, limit=limit
        ),
        memory or FakeMemory(),
        DurablePublisher(Publishing(publisher=publisher, to_message=to_message, clock=clock)),
        report=NotificationReport(metrics, clock),
        clock=clock,
    )


@pytest.fixture
def ingest(publisher: FakePublisher, clock: HandClock, metrics: Metrics) -> NotificationExecutor:
    return make_ingest(publisher, clock, metrics)


@pytest.fixture(scope="module")
def stall() -> Iterator[NotificationExecutor]:
    """One ingest for all examples of a property."""
    publisher = FakePublisher()
    yield make_ingest(publisher, HandClock(), Metrics(version="0.0.0"), confirm_timeout=10)
    publisher.close()


async def bring(ingest: NotificationExecutor, body: bytes = INBOUND) -> NotificationResult:
    """Submit `body` and return the result."""
    answer: asyncio.Future[NotificationResult] = asyncio.get_running_loop().create_future()

    def answered(taken: NotificationResult | Exception) -> None:
        if isinstance(taken, Exception):
            answer.set_exception(taken)
        elif not answer.cancelled():
            answer.set_result(taken)

    ingest.take(body, answered)
    return await answer


def take(
    ingest: NotificationExecutor, body: bytes = INBOUND
) -> tuple[NotificationResult | InvalidNotification, list[Any]]:
    """Submit `body` and return the result and the log."""
    with capture_logs() as lines:
        try:
            # In debug mode the event loop refuses calls from the publisher's thread.
            taken: NotificationResult | InvalidNotification = asyncio.run(bring(ingest, body), debug=True)
        except InvalidNotification as error:
            taken = error
    return taken, list(lines)


async def noted(memory: FakeMemory) -> None:
    """Wait until a notification is noted."""
    async with asyncio.timeout(10):
        while not memory.noted:
            await asyncio.sleep(0.01)


def test_confirmed_notification_is_durable_and_leaves_one_line(
    ingest: NotificationExecutor, publisher: FakePublisher, metrics: Metrics
) -> None:
    taken, lines = take(ingest)
    (message,) = publisher.taken

    assert taken is NotificationResult.PUBLISHED
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


def test_known_notification_is_answered_and_not_published_again(
    ingest: NotificationExecutor, publisher: FakePublisher, metrics: Metrics
) -> None:
    take(ingest)
    taken, lines = take(ingest)
    (message,) = publisher.taken

    assert taken is NotificationResult.REPEATED
    assert [(line["event"], line["event_id"], line["status"]) for line in lines] == [
        ("notification.repeated", message.properties["message_id"], 204)
    ]
    assert metrics.registry.get_sample_value("sms_bridge_notifications_repeated_total") == 1
    labels = {"type": "sms.inbound.received", "code": "204"}
    assert metrics.registry.get_sample_value("sms_bridge_notifications_total", labels) == 2
    assert metrics.registry.get_sample_value("sms_bridge_webhook_to_confirm_seconds_count") == 1


def test_repeat_that_is_not_remembered_is_published_with_the_same_id(
    publisher: FakePublisher, clock: HandClock, metrics: Metrics
) -> None:
    ingest = make_ingest(publisher, clock, metrics, FakeMemory(unavailable=True))
    answers = [take(ingest)[0] for _ in range(2)]
    one, other = publisher.taken

    assert answers == [NotificationResult.PUBLISHED] * 2
    assert one.properties["message_id"] == other.properties["message_id"]


def test_event_goes_to_the_events_exchange_or_to_the_unrouted_queue(
    ingest: NotificationExecutor, publisher: FakePublisher
) -> None:
    take(ingest)
    (message,) = publisher.taken

    assert (message.exchange, message.routing_key) == ("sms.events", "sms.inbound.received")
    assert message.fallback == "sms.unrouted"


def test_unconfirmed_notification_is_refused_and_its_repeat_is_not_a_second_event(
    publisher: FakePublisher, clock: HandClock, metrics: Metrics
) -> None:
    memory = FakeMemory()
    ingest = make_ingest(publisher, clock, metrics, memory, confirm_timeout=0.2)

    async def scenario() -> list[NotificationResult]:
        publisher.confirming.clear()
        answers = [await bring(ingest), await bring(ingest)]
        publisher.confirming.set()
        await noted(memory)
        return [*answers, await bring(ingest)]

    with capture_logs() as lines:
        answers = asyncio.run(scenario(), debug=True)
    (message,) = publisher.taken

    assert answers == [NotificationResult.REFUSED, NotificationResult.REFUSED, NotificationResult.REPEATED]
    assert memory.noted[:1] == [message.properties["message_id"]]
    assert [(line["event"], line["log_level"], line["status"]) for line in lines] == [
        *[("notification.refused", "warning", 503)] * 2,
        ("notification.repeated", "info", 204),
    ]
    labels = {"type": "sms.inbound.received", "code": "503"}
    assert metrics.registry.get_sample_value("sms_bridge_notifications_total", labels) == 2


@pytest.mark.parametrize("body", [INBOUND, RECEIPT])
def test_ledger_and_the_broker_share_the_time_of_a_request(
    publisher: FakePublisher, clock: HandClock, metrics: Metrics, body: bytes
) -> None:
    async def scenario() -> None:
        memory = FakeMemory()
        memory.hangs = True
        ingest = make_ingest(publisher, clock, metrics, memory, confirm_timeout=0.2)
        async with asyncio.timeout(10):
            assert await bring(ingest, body) is NotificationResult.REFUSED
        before = list(publisher.taken)
        memory.go()
        await noted(memory)

        assert await bring(ingest, body) is NotificationResult.REPEATED
        assert (before, len(publisher.taken)) == ([], 1)

    asyncio.run(scenario(), debug=True)


def test_receipt_received_before_its_submission_was_known_is_a_repeat_afterwards(
    publisher: FakePublisher, clock: HandClock, metrics: Metrics
) -> None:
    memory = FakeMemory()
    ingest = make_ingest(publisher, clock, metrics, memory, confirm_timeout=0.4)
    results = [take(ingest, RECEIPT)[0]]
    memory.sent["m-c1"] = SENT
    results.append(take(ingest, RECEIPT)[0])
    memory.sent.clear()
    results.append(take(ingest, RECEIPT)[0])
    (message,) = publisher.taken

    assert results == [
        NotificationResult.PUBLISHED,
        NotificationResult.REPEATED,
        NotificationResult.REPEATED,
    ]
    # So that the status of a published receipt is not polled.
    assert memory.noted == [message.properties["message_id"], OURS.id]


def test_receipt_faster_than_the_worker_waits_briefly_for_the_record(
    publisher: FakePublisher, clock: HandClock, metrics: Metrics
) -> None:
    memory = FakeMemory()
    ingest = make_ingest(publisher, clock, metrics, memory, confirm_timeout=0.4)

    async def scenario() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        loop.call_later(0.05, memory.sent.update, {"m-c1": SENT})
        await bring(ingest, RECEIPT)
        return loop.time() - began

    took = asyncio.run(scenario(), debug=True)

    assert took >= 0.1
    assert [message.properties["message_id"] for message in publisher.taken] == [OURS.id]


def test_known_receipt_is_a_repeat_also_when_its_submission_is_not_found(
    publisher: FakePublisher, clock: HandClock, metrics: Metrics
) -> None:
    memory = FakeMemory()
    memory.sent["m-c1"] = SENT
    ingest = make_ingest(publisher, clock, metrics, memory, confirm_timeout=0.4)
    results = [take(ingest, RECEIPT)[0]]
    memory.sent.clear()
    results.append(take(ingest, RECEIPT)[0])

    assert results == [NotificationResult.PUBLISHED, NotificationResult.REPEATED]
    assert [message.properties["message_id"] for message in publisher.taken] == [OURS.id]


def test_result_follows_the_confirm(ingest: NotificationExecutor, publisher: FakePublisher) -> None:
    async def scenario() -> None:
        publisher.confirming.clear()
        taking = asyncio.create_task(bring(ingest))
        while not publisher.taken:
            await asyncio.sleep(0.01)
        done, _ = await asyncio.wait([taking], timeout=0.2)
        publisher.confirming.set()

        assert done == set()
        assert await taking is NotificationResult.PUBLISHED

    asyncio.run(scenario(), debug=True)


def test_stopping_server_does_not_wait_for_confirms(
    ingest: NotificationExecutor, publisher: FakePublisher, clock: HandClock, metrics: Metrics
) -> None:
    publisher.confirming.clear()
    first, _ = take(make_ingest(publisher, clock, metrics, confirm_timeout=0.05))
    publisher.confirming.set()
    second, _ = take(ingest)
    ids = {message.properties["message_id"] for message in publisher.taken}

    # Each has a separate event loop: requests in flight on the first ended with it.
    assert (first, second) == (NotificationResult.REFUSED, NotificationResult.PUBLISHED)
    assert len(ids) == 1


@pytest.mark.parametrize("is_full", [False, True])
def test_nothing_is_published_while_the_broker_is_unavailable(
    ingest: NotificationExecutor, publisher: FakePublisher, is_full: bool
) -> None:
    publisher.available, publisher._capacity = is_full, 0
    refused, _ = take(ingest)
    before = list(publisher.taken)
    publisher.available, publisher._capacity = True, 10
    taken, _ = take(ingest)

    assert (refused, before, taken) == (NotificationResult.REFUSED, [], NotificationResult.PUBLISHED)


def test_body_that_is_not_a_notification_is_refused_with_reasons(
    ingest: NotificationExecutor, publisher: FakePublisher, metrics: Metrics
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


# A machine under load is not a failure.
@settings(deadline=None)
@given(BODIES)
def test_any_body_is_either_an_event_or_refused(stall: NotificationExecutor, body: bytes) -> None:
    taken, lines = take(stall, body)

    assert isinstance(taken, InvalidNotification) or taken is not NotificationResult.REFUSED
    assert len(lines) == 1


def test_no_log_line_contains_a_number_or_a_text(
    ingest: NotificationExecutor, publisher: FakePublisher
) -> None:
    confirmed = [take(ingest), take(ingest, INBOUND[:-1]), take(ingest, b'{"+16137001234":"a secret text"}')]
    publisher.available = False
    confirmed.append(take(ingest))

    assert "6137001234" not in repr(confirmed)
    assert "secret" not in repr(confirmed)


def test_cancelled_request_leaves_nothing_behind_for_its_late_confirm(
    ingest: NotificationExecutor, publisher: FakePublisher
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
        assert await bring(ingest) is NotificationResult.REPEATED
        return broken

    assert asyncio.run(scenario()) == []


def test_refused_requests_are_all_counted_and_logged_once_a_minute_for_each_status(
    clock: HandClock, metrics: Metrics
) -> None:
    report = NotificationReport(metrics, clock)
    with capture_logs() as lines:
        for status in (401, 401, 413, 401):
            report.refused(status, "203.0.113.7")
        clock.pass_by(60)
        report.refused(401)

    assert [(line["status"], line["client"]) for line in lines] == [
        (401, "203.0.113.7"),
        (413, "203.0.113.7"),
        (401, None),
    ]
    labels = {"type": "none", "code": "401"}
    assert metrics.registry.get_sample_value("sms_bridge_notifications_total", labels) == 4
