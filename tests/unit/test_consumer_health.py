"""Detection of a consumer that the broker has lost, by the broker's reports on its queue."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.adapters.amqp.consumer_health import FORGOTTEN, UNSEEN, ConsumerHealth, QueueReport

#: Commands wait, the worker has capacity, and none is delivered.
WAITING = QueueReport(at=0.0, messages=3, consumers=0, delivered=0, has_capacity=True, consuming=True)


def last(*reports: QueueReport, every: float = 2.0) -> tuple[bool, bool]:
    """Process the reports in order; return whether the consumer is lost, and not visible, after the last."""
    health, forgotten, now = ConsumerHealth(), False, 0.0
    for number, report in enumerate(reports):
        now = number * every
        forgotten = health.is_forgotten(replace(report, at=now))
    return forgotten, health.is_unseen(now)


def reports(seconds: float, report: QueueReport = WAITING) -> list[QueueReport]:
    """Return the reports of that number of seconds."""
    return [report] * (int(seconds / 2) + 1)


def test_consumer_is_lost_when_waiting_commands_are_not_delivered_for_longer_than_an_election() -> None:
    assert last(*reports(FORGOTTEN - 2)) == (False, True)
    assert last(*reports(FORGOTTEN + 2)) == (True, True)
    assert last(*reports(FORGOTTEN + 2, replace(WAITING, consumers=2))) == (True, False)


def test_consumer_is_kept_while_the_leader_of_its_queue_is_unavailable() -> None:
    empty = replace(WAITING, messages=0)

    assert last(*reports(10 * FORGOTTEN, empty)) == (False, True)
    assert last(*reports(UNSEEN - 2, empty)) == (False, False)


def test_consumer_is_visible_while_full_though_no_delivery_is_expected() -> None:
    assert last(*reports(FORGOTTEN + 2, replace(WAITING, has_capacity=False))) == (False, True)


@pytest.mark.parametrize(
    "sign",
    [replace(WAITING, delivered=1), replace(WAITING, consuming=False)],
)
def test_sign_of_life_restarts_the_count(sign: QueueReport) -> None:
    after = replace(WAITING, delivered=sign.delivered)

    assert last(*reports(FORGOTTEN - 2), sign, *reports(FORGOTTEN - 2, after))[0] is False
    assert last(*reports(FORGOTTEN - 2), sign, *reports(UNSEEN - 4, after))[1] is False
