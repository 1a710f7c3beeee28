"""Notices a node that does not answer: frozen, or cut off without a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.adapters.amqp.connection import Broker
    from bridge.ports import Clock

#: Seconds between an answer and the next question.
INTERVAL = 2.0
#: Seconds that a node may take to answer. Heartbeats would say it too, but only after two of them failed to come.
TIMEOUT = 10.0
#: How often at least an answer must have been looked for: the machine may have slept.
FEWEST_CHECKS = 3


class NodeSilent(Exception):
    """The node does not answer; the message says for how long."""


class Pulse:
    """Asks the node at the other end of a connection for an answer, on a channel of its own.

    It judges the node alone: a queue whose leader is on another node, and away, has no part in the answer.
    """

    def __init__(self, broker: Broker, clock: Clock) -> None:
        self._broker = broker
        self._clock = clock
        self._channel = broker.channel()
        self._answered_at = clock.monotonic()
        self._asked_at: float | None = None
        self._checks = 0

    def check(self) -> None:
        """Ask where it is time to. Call about twice a second, after what has arrived was handled.

        Raises:
            NodeSilent: there is no answer to an earlier question.

        """
        now = self._clock.monotonic()
        if self._broker.blocked:
            # It reads nothing from us now, and says so.
            self._asked_at = None
        elif self._asked_at is None:
            if now - self._answered_at >= INTERVAL:
                self._asked_at, self._checks = now, 0
                self._broker.ask_for_answer(self._channel, self._on_answer)
        else:
            self._checks += 1
            if now - self._asked_at > TIMEOUT and self._checks >= FEWEST_CHECKS:
                raise NodeSilent(f"the broker's node has not answered for {TIMEOUT:g} s")

    def _on_answer(self) -> None:
        self._asked_at, self._answered_at = None, self._clock.monotonic()
