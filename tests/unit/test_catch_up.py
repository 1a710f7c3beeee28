"""Backfill: the threads that are read, the messages that are published, and the watermarks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from bridge.adapters.cpaas.archive import CpaasArchive
from bridge.domain.backfill import ACCOUNT, GRACE, CatchUpRules
from bridge.domain.notification_events import to_event
from bridge.domain.notifications import parse_notification
from bridge.domain.outcomes import EventFormat
from bridge.jobs.backfill import CatchingUp, CatchUp
from bridge.ports import ArchiveUnavailable
from bridge.ports.http_results import NotificationResult
from tests.fakes.clock import HandClock
from tests.fakes.ledger import MemorySeen
from tests.fakes.provider_server import answer
from tests.harness.contract_check import event_of
from tests.harness.webhook import inbound, inbound_id
from tests.unit.cpaas_setup import client_setup

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.events import Event
    from bridge.jobs.backfill import Caught

NOW = HandClock().wall
OURS, THEIRS = "+16137001234", "+16139998877"
DAY, HOUR = 86400.0, 3600.0
RULES = CatchUpRules(lookback=DAY, overlap=HOUR, retention=90 * DAY)


@dataclass(frozen=True, kw_only=True)
class Thread:
    remote_address: str = THEIRS
    local_address: str = OURS
    last_message_at: float | None = None
    length: int | None = None


@dataclass(frozen=True, kw_only=True)
class Message:
    message_id: str
    at: float | None
    direction: str = "inbound"
    text: str | None = "hi there"
    remote_address: str = THEIRS
    local_address: str = OURS
    date_time: object = 1525895987


class Archive:
    """The provider's history in a test; a thread without messages is unreadable."""

    def __init__(self) -> None:
        self.kept: dict[Thread, list[Message] | None] = {}
        self.listed = self.complete = True
        self.read: list[Thread] = []

    def threads(self) -> tuple[list[Thread], bool]:
        return list(self.kept), self.listed

    def messages(self, thread: Any, since: float) -> tuple[list[Message], bool]:
        self.read.append(thread)
        messages = self.kept[thread]
        if messages is None:
            raise ArchiveUnavailable("down")
        return messages, self.complete


class BackfillModel:
    def __init__(self) -> None:
        self.archive, self.memory, self.clock = Archive(), MemorySeen(), HandClock()
        self.published: list[Event] = []
        self.durable = True
        #: Messages whose webhooks arrive while the first is published.
        self.webhooks: list[str] = []

    def run(self, **options: Any) -> Caught:
        return self.catch_up(self._publish).run(**options)

    def catch_up(self, publish: Callable[[Event], NotificationResult]) -> CatchUp:
        return CatchUp(
            self.archive,
            lambda: self.memory,
            publish,
            style=EventFormat(source="/sms-bridge/sms"),
            rules=RULES,
            clock=self.clock,
        )

    def _publish(self, event: Event) -> NotificationResult:
        if not self.durable:
            return NotificationResult.REFUSED
        self.published.append(event)
        self.memory.note([inbound_id(name) for name in self.webhooks], NOW)
        return NotificationResult.PUBLISHED

    def ids(self) -> list[str]:
        return [event_of(event.body)["data"]["message_id"] for event in self.published]


@pytest.fixture
def model() -> BackfillModel:
    return BackfillModel()


def test_backfilled_message_is_the_same_event_as_from_its_webhook(model: BackfillModel) -> None:
    model.archive.kept = {Thread(): [Message(message_id="m1", at=NOW - 60)]}
    caught = model.run()
    (event,) = model.published
    webhook = to_event(
        parse_notification(json.dumps(inbound("m1")).encode()),
        source="/sms-bridge/sms",
        time=model.clock.now(),
    )
    by_webhook = event_of(webhook.body)
    by_webhook["data"] |= {"notification_id": None, "notification_date_time": None, "recovered": True}

    assert (event.id, event_of(event.body)) == (webhook.id, by_webhook)
    assert (caught.recovered, caught.whole) == (1, True)


def test_lost_message_is_found_before_delivered_ones_and_none_is_published_twice(
    model: BackfillModel,
) -> None:
    names = ["m1", "lost", "m3", "m4"]
    model.memory.note([inbound_id(name) for name in names if name != "lost"], NOW)
    model.archive.kept = {
        Thread(): [Message(message_id=name, at=NOW - 400 + 100 * number) for number, name in enumerate(names)]
    }
    model.run()
    again = model.run()

    assert model.ids() == ["lost"]
    assert again.recovered == 0


def brought(model: BackfillModel, **fields: Any) -> None:
    """Let a webhook deliver a message with the id m1."""
    body = json.dumps(inbound("m1", **fields)).encode()
    event = to_event(parse_notification(body), source="/sms-bridge/sms", time=NOW)
    model.memory.note([event.id, *event.also_noted], NOW)


def test_message_altered_in_the_history_is_the_one_of_its_webhook(
    model: BackfillModel,
) -> None:
    brought(model, text="Price: 5\u00a0EUR", destinationAddress="16137001234")
    model.archive.kept = {Thread(): [Message(message_id="m1", at=NOW - 100, text="Price: 5 EUR")]}

    assert model.run().recovered == 0


def test_two_messages_of_one_id_are_distinguished_when_the_history_shows_both(model: BackfillModel) -> None:
    brought(model, text="one")
    model.archive.kept = {
        Thread(): [
            Message(message_id="m1", at=NOW - 100, text="one"),
            Message(message_id="m1", at=NOW - 100, text="another"),
        ],
        Thread(remote_address="+16130000000"): [
            Message(message_id="m1", at=NOW - 100, text="one", remote_address="+16130000000")
        ],
    }
    first, again = model.run(), model.run()

    assert (first.recovered, again.recovered) == (2, 0)
    assert {event.id for event in model.published} == {
        inbound_id("m1", "another"),
        inbound_id("m1", "one", sender="+16130000000"),
    }


def test_dated_inbound_messages_alone_are_published_oldest_first(model: BackfillModel) -> None:
    model.archive.kept = {
        Thread(): [
            Message(message_id="second", at=NOW - 110),
            Message(message_id="first", at=NOW - 120),
            Message(message_id="first", at=NOW - 120),
            Message(message_id="sent", at=NOW - 115, direction="outbound"),
            Message(message_id="undated", at=None),
            Message(message_id="in a far future", at=NOW + 10 * DAY),
            Message(message_id="long ago", at=NOW - 2 * DAY),
        ]
    }
    caught = model.run()

    assert model.ids() == ["first", "second"]
    assert caught.undated == 2


def test_backfill_resumes_from_the_watermark_minus_overlap_also_for_new_numbers_and_threads(
    model: BackfillModel,
) -> None:
    model.run()
    model.clock.wall += 10 * DAY
    new, own, begin = "+16137005678", Thread(), NOW - GRACE - HOUR
    model.archive.kept = {
        own: [Message(message_id="late", at=begin + 1), Message(message_id="old", at=begin - 1)],
        Thread(local_address=new): [Message(message_id="other", at=NOW + 1, local_address=new)],
        Thread(remote_address="+16130000000", last_message_at=NOW - 2 * HOUR): None,
    }
    caught = model.run()

    assert sorted(model.ids()) == ["late", "other"]
    assert caught.threads == 2
    assert caught.whole


def test_incompletely_read_number_keeps_its_watermark_and_others_advance(model: BackfillModel) -> None:
    model.run()
    start = model.clock.now() - GRACE
    model.clock.wall += DAY
    other = "+16137005678"
    broken, fine = Thread(), Thread(local_address=other)
    model.archive.kept = {broken: None, fine: []}
    caught = model.run()
    later = model.clock.now() - GRACE

    assert (caught.unreadable, caught.whole) == (1, False)
    assert model.memory.watermarks() == {ACCOUNT: later, OURS: start, other: later}
    model.clock.wall += 5 * DAY
    model.archive.kept[broken] = [Message(message_id="waited", at=start + 60)]
    model.run()
    assert model.ids() == ["waited"]


@pytest.mark.parametrize("lacking", ["listed", "complete"])
def test_incomplete_history_holds_the_watermark(model: BackfillModel, lacking: str) -> None:
    model.archive.kept = {Thread(): [Message(message_id="m1", at=NOW - 60)]}
    setattr(model.archive, lacking, False)
    caught = model.run()

    assert model.ids() == ["m1"]
    assert (caught.incomplete, caught.whole) == (1, False)
    assert model.memory.watermarks().get(OURS, NOW - DAY) == NOW - DAY


def test_event_that_is_not_durable_is_not_noted_and_does_not_move_the_watermark(model: BackfillModel) -> None:
    model.archive.kept = {Thread(): [Message(message_id="m1", at=NOW - 60)]}
    model.durable = False
    caught = model.run()
    model.durable, model.clock.wall = True, NOW + 30 * DAY
    model.run()

    assert (caught.refused, caught.recovered) == (1, 0)
    assert model.ids() == ["m1"]


def test_watermark_from_a_clock_set_ahead_hides_nothing(model: BackfillModel) -> None:
    model.clock.wall += 365 * DAY
    model.run()
    model.clock.wall = NOW
    model.archive.kept = {Thread(): [Message(message_id="m1", at=NOW - DAY + 60)]}
    model.run()

    assert model.ids() == ["m1"]


def test_message_delivered_by_webhook_during_a_backfill_is_not_published_again(model: BackfillModel) -> None:
    model.archive.kept = {
        Thread(): [Message(message_id=f"m{number}", at=NOW - 900 + number) for number in range(4)]
    }
    model.webhooks = ["m1", "m3"]
    caught = model.run()

    assert model.ids() == ["m0", "m2"]
    assert (caught.recovered, caught.refused, caught.whole) == (2, 0, True)


def test_message_already_published_is_not_counted_as_recovered(model: BackfillModel) -> None:
    model.archive.kept = {Thread(): [Message(message_id="m1", at=NOW - 900)]}
    catch_up = model.catch_up(lambda _: NotificationResult.REPEATED)
    caught = catch_up.run()

    assert (caught.recovered, caught.refused, caught.whole) == (0, 0, True)
    assert model.memory.known([inbound_id("m1")])


def test_recent_message_is_left_to_its_webhook_until_that_is_overdue(model: BackfillModel) -> None:
    model.memory.note([inbound_id("brought")], NOW)
    model.archive.kept = {
        Thread(): [
            Message(message_id="brought", at=NOW - 20),
            Message(message_id="on its way", at=NOW - 10),
            Message(message_id="lost", at=NOW - GRACE - 1),
            Message(message_id="by a clock that is ahead", at=NOW + 10),
        ]
    }
    first = model.run()
    at_once = model.ids()
    model.clock.wall += 10 * DAY
    later = model.run()

    assert (at_once, first.recovered, first.young, first.whole) == (["lost"], 1, 2, True)
    assert model.ids() == ["lost", "on its way", "by a clock that is ahead"]
    assert (later.recovered, later.young) == (2, 0)


def test_recent_message_is_published_when_a_start_time_is_given(model: BackfillModel) -> None:
    model.archive.kept = {Thread(): [Message(message_id="m1", at=NOW - 1)]}

    assert (model.run(since=NOW - 60).young, model.ids()) == (0, ["m1"])


def test_single_round_is_repeated_once_for_messages_that_were_too_recent(model: BackfillModel) -> None:
    model.archive.kept = {Thread(): [Message(message_id="m1", at=NOW)]}
    catch_up = model.catch_up(lambda _: NotificationResult.PUBLISHED)
    catching_up = CatchingUp(catch_up, at_start=True, interval=0, grace=0.01)
    catching_up.start()
    catching_up._thread.join(20)

    assert (len(model.archive.read), catching_up._thread.is_alive()) == (2, False)


def test_unexpected_exception_is_logged_and_the_next_round_runs(model: BackfillModel) -> None:
    model.archive.kept = {Thread(): [Message(message_id="m1", at=NOW - 900)]}
    mistakes = [TypeError("a mistake of ours")]

    def publish(event: Event) -> NotificationResult:
        if mistakes:
            raise mistakes.pop()
        model.published.append(event)
        return NotificationResult.PUBLISHED

    catching_up = CatchingUp(model.catch_up(publish), at_start=True, interval=0, retry=0.01)
    with capture_logs() as lines:
        catching_up.start()
        catching_up._thread.join(20)

    assert [line["event"] for line in lines] == ["thread.crashed", "catch_up.ended"]
    assert model.ids() == ["m1"]


@pytest.mark.parametrize("remote", [".", "..", "", "\ud83d"])
def test_thread_without_a_valid_path_holds_only_its_watermark(remote: str) -> None:
    thread = Thread(remote_address=remote)
    with client_setup() as it:
        read = CpaasArchive(it.client.history).messages(thread, NOW)

    assert read == ((), False)


def test_listed_thread_that_is_not_found_is_incomplete() -> None:
    with client_setup() as it:
        it.server.acts.extend([answer(404), answer(404)])
        read = CpaasArchive(it.client.history).messages(Thread(), NOW)

    assert read == ((), False)


def test_empty_listed_thread_that_is_not_found_is_complete() -> None:
    with client_setup() as it:
        it.server.acts.append(answer(404))
        read = CpaasArchive(it.client.history).messages(Thread(length=0), NOW)

    assert read == ((), True)


def test_dry_run_changes_nothing(model: BackfillModel) -> None:
    model.archive.kept = {Thread(): [Message(message_id="m1", at=NOW - 60)]}
    caught = model.run(dry_run=True)

    assert (caught.recovered, model.published, model.memory.watermarks()) == (1, [], {})
    assert model.run().recovered == 1


def test_start_time_reaches_further_back_but_not_beyond_the_retention(model: BackfillModel) -> None:
    model.archive.kept = {
        Thread(): [
            Message(message_id="a week", at=NOW - 7 * DAY),
            Message(message_id="a year", at=NOW - 365 * DAY),
        ]
    }
    model.run(since=NOW - 400 * DAY)

    assert model.ids() == ["a week"]
    assert model.memory.watermarks() == {}
