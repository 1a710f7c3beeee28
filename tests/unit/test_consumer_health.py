"""Whether the broker has forgotten a consumer, judged by what the broker says of its queue."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.adapters.amqp.consumer_health import FORGOTTEN, UNSEEN, ConsumerHealth, QueueReport

#: Commands wait, we have room, and nothing comes.
WAITING = QueueReport(at=0.0, messages=3, consumers=0, delivered=0, has_capacity=True, consuming=True)


def last(*reports: QueueReport, every: float = 2.0) -> tuple[bool, bool]:
    """Take the reports one after another; return whether we are forgotten, and unseen, after the last."""
    health, forgotten, now = ConsumerHealth(), False, 0.0
    for number, report in enumerate(reports):
        now = number * every
        forgotten = health.is_forgotten(replace(report, at=now))
    return forgotten, health.is_unseen(now)


def reports(seconds: float, report: QueueReport = WAITING) -> list[QueueReport]:
    """Return the reports of so many seconds."""
    return [report] * (int(seconds / 2) + 1)


def test_while_commands_wait_and_none_comes_for_longer_than_an_election_we_are_forgotten() -> None:
    assert last(*reports(FORGOTTEN - 2)) == (False, True)
    assert last(*reports(FORGOTTEN + 2)) == (True, True)
    assert last(*reports(FORGOTTEN + 2, replace(WAITING, consumers=2))) == (True, False)


def test_the_answer_for_a_queue_whose_leader_is_away_is_no_reason_to_give_anything_up() -> None:
    away = replace(WAITING, messages=0)

    assert last(*reports(10 * FORGOTTEN, away)) == (False, True)
    assert last(*reports(UNSEEN - 2, away)) == (False, False)


def test_without_room_nothing_need_come_and_a_consumer_is_to_be_in_sight_all_the_same() -> None:
    assert last(*reports(FORGOTTEN + 2, replace(WAITING, has_capacity=False))) == (False, True)


@pytest.mark.parametrize(
    "sign",
    [replace(WAITING, delivered=1), replace(WAITING, consuming=False)],
)
def test_one_sign_to_the_contrary_starts_the_count_anew(sign: QueueReport) -> None:
    after = replace(WAITING, delivered=sign.delivered)

    assert last(*reports(FORGOTTEN - 2), sign, *reports(FORGOTTEN - 2, after))[0] is False
    assert last(*reports(FORGOTTEN - 2), sign, *reports(UNSEEN - 4, after))[1] is False
