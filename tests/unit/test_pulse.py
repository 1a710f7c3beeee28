"""Heartbeat to a node: a silent node is given up, but not after an alarm or a sleep of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.adapters.amqp.pulse import FEWEST_CHECKS, INTERVAL, TIMEOUT, NodeSilent, Pulse
from tests.fakes.clock import HandClock

if TYPE_CHECKING:
    from collections.abc import Callable


class Node:
    """A node that responds when the test says so."""

    def __init__(self) -> None:
        self.blocked = False
        self.questions: list[Callable[[], None]] = []

    def channel(self) -> object:
        """Return a channel that is not used here."""
        return object()

    def ask_for_answer(self, _channel: object, answered: Callable[[], None]) -> None:
        """Accept a request."""
        self.questions.append(answered)


class StatusPolling:
    """A heartbeat, its node and the time."""

    def __init__(self) -> None:
        self.clock, self.node = HandClock(), Node()
        self.pulse = Pulse(self.node, self.clock)  # type: ignore[arg-type]  # it needs no more of a connection

    def go_on(self, seconds: float) -> None:
        """Check twice per second for that number of seconds."""
        for _ in range(int(2 * seconds)):
            self.clock.pass_by(0.5)
            self.pulse.check()


def test_responding_node_is_polled_repeatedly() -> None:
    it = StatusPolling()
    for number in range(1, 20):
        it.go_on(INTERVAL)
        assert len(it.node.questions) == number
        it.node.questions[-1]()


def test_silent_node_is_given_up() -> None:
    it = StatusPolling()
    it.go_on(INTERVAL + TIMEOUT)

    with pytest.raises(NodeSilent, match="has not answered for 10 s"):
        it.go_on(1)
    assert len(it.node.questions) == 1


def test_node_with_an_alarm_is_polled_after_the_alarm() -> None:
    it = StatusPolling()
    it.go_on(INTERVAL)
    it.node.blocked = True
    it.go_on(10 * TIMEOUT)
    it.node.blocked = False
    it.go_on(TIMEOUT)

    assert len(it.node.questions) == 2


def test_response_is_read_first_after_the_machine_slept() -> None:
    it = StatusPolling()
    it.go_on(INTERVAL)
    it.clock.pass_by(3600)
    for _ in range(FEWEST_CHECKS - 1):
        it.pulse.check()

    with pytest.raises(NodeSilent):
        it.pulse.check()
