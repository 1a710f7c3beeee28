"""The embedded broker: an exception in its observer is logged, and one in the broker ends the process."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from bridge.adapters.amqp.embedded import EmbeddedBroker
from bridge.adapters.clock import SystemClock
from tests.broker.amqp_setup import NAMES, event
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from bridge.domain.messages import Delivery


def nothing() -> None:
    """Wait for no confirm."""


def test_event_that_can_not_be_shown_does_not_stop_others() -> None:
    shown: list[bytes] = []

    def show(body: bytes) -> None:
        shown.append(body)
        json.loads(body)["data"]

    crashed = threading.Event()
    broker = EmbeddedBroker(NAMES, SystemClock(), watch=show, on_crash=crashed.set)
    with capture_logs() as logs:
        broker.open()
        for number in range(2):
            broker.publish(event("x", number), nothing)
        wait_until(lambda: len(shown) == 2, what="both events")
        is_available = broker.available
        broker.close()

    assert is_available
    assert not crashed.is_set()
    assert [line["event"] for line in logs] == ["event.display_failed"] * 2


def test_crash_of_its_thread_ends_the_process_and_makes_it_unavailable() -> None:
    def receive(_delivery: Delivery) -> None:
        raise ZeroDivisionError

    crashed = threading.Event()
    broker = EmbeddedBroker(NAMES, SystemClock(), on_crash=crashed.set)
    broker.consume(receive)
    with capture_logs() as logs:
        broker.open()
        broker.publish(event("send", 1, exchange=NAMES.commands_exchange), nothing)
        has_crashed = crashed.wait(10)
    wait_until(lambda: not broker.available, what="the thread's end")

    assert has_crashed
    assert not broker.consuming
    assert [line["event"] for line in logs] == ["broker.crashed"]
