"""Messages that may themselves be why connections end: each is published alone, to learn whether it is."""

from __future__ import annotations

from collections import deque
from functools import partial
from math import inf
from typing import TYPE_CHECKING

import structlog

from bridge.adapters.amqp.connection_thread import PROVEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.amqp.confirm_channel import Publish

#: How often what may be dropped is refused, or under way when the connection is lost, before it is dropped: it may
#: itself be the reason. RabbitMQ ends the connection for a malformed `amq.rabbitmq.reply-to.` key, every time. What may
#: not be dropped is a suspect from then on.
MOST_FAILURES = 3
#: Seconds that a suspect which may not be dropped makes way for the others once it has cost a connection alone: the
#: first time, and the most it doubles to. And how long a connection is before it may be risked for one, and then for
#: no other: the others have all that time, and the link takes it for a good one.
QUARANTINE_PAUSE = 2 * PROVEN
LONGEST_QUARANTINE_PAUSE = 60.0
#: Seconds that the others wait for a suspect that is alone, or for the confirms after which it may go; and how often
#: they do so while those stay away. The broker ends a connection for a message at once. A confirm that takes longer is
#: one of a queue whose leader can't be reached.
LONGEST_HOLD = 1.0
HOLD_INTERVAL = 10.0


class Suspects:
    """The messages that may have cost a connection. On the link's thread."""

    def __init__(self) -> None:
        #: Each is to be published with nothing else under way.
        self.waiting: deque[Publish] = deque()
        #: Those that did cost one and may not be dropped, until it is their turn again.
        self.quarantined: list[Publish] = []
        #: From when on one of them may be tried on this connection.
        self._risked_from = inf
        #: Whether what was written last is one of the suspects.
        self.is_alone = False
        #: Since when the others have waited.
        self._held_since: float | None = None
        self._log = structlog.get_logger()

    def connected(self, now: float) -> None:
        """Take note of a new connection."""
        self._risked_from = now + QUARANTINE_PAUSE
        self._held_since = None

    def holds(self, now: float, *, is_idle: bool) -> bool:
        """Return whether the others wait for a suspect: it is alone, or waits until all is confirmed (`is_idle`)."""
        if is_idle:
            self._held_since = None
            return False
        if self._held_since is None:
            self._held_since = now
        return (now - self._held_since) % HOLD_INTERVAL < LONGEST_HOLD

    def try_quarantined(self, now: float) -> None:
        """Have one of the `quarantined` tried again, where it is time."""
        if now >= self._risked_from and self.quarantined[0].not_before <= now:
            self._risked_from = inf
            self._held_since = None
            self.waiting.append(self.quarantined.pop(0))

    def acquit(self) -> None:
        """Try the others at once, one by one: the broker has taken one, so the reason may be gone for all."""
        self._risked_from = -inf
        for quarantined_message in self.quarantined:
            quarantined_message.not_before = -inf

    def fails_once_too_often(self, publish: Publish) -> bool:
        """Count a failure, and say whether there were so many that it may itself be the reason."""
        publish.failures += 1
        if publish.failures == MOST_FAILURES + 1:
            publish.confirmed = partial(self._acquit_and_confirm, publish.confirmed)
        return publish.failures >= MOST_FAILURES

    def _acquit_and_confirm(self, confirmed: Callable[[], None]) -> None:
        self.acquit()
        confirmed()

    def judge(self, publish: Publish, now: float) -> None:
        """Have a suspect go alone; one that did, and may not be dropped, makes way for the others."""
        if not self.is_alone:
            self.waiting.append(publish)
            return
        doublings = min(10, publish.failures - MOST_FAILURES - 1)
        pause = min(LONGEST_QUARANTINE_PAUSE, QUARANTINE_PAUSE * 2.0**doublings)
        publish.not_before = now + pause
        self.quarantined.append(publish)
        self.quarantined.sort(key=lambda quarantined_message: quarantined_message.not_before)
        properties = publish.message.properties
        self._log.error(
            "message.refused",
            message_id=properties.get("message_id"),
            type=properties.get("type"),
            routing_key=publish.message.routing_key,
            retry_in=pause,
            hint="the connection ends with it each time: see the broker's log",
        )
