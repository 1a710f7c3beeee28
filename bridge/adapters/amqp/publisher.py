"""Publishes on a connection of its own, many at a time, each until it is confirmed.

Events, dead letters, replies and delayed copies have channels of their own: the first message of a channel to a queue
whose leader is unreachable holds up all others on that channel until the broker gives the leader's node up. A channel
that has used the queue before gets on as soon as that has another leader.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

import structlog

from bridge.adapters.amqp.confirm_channel import ConfirmChannel, ConfirmLate, Publish
from bridge.adapters.amqp.connection_owner import ConnectionOwner
from bridge.adapters.amqp.connection_thread import ConnectionDown, ConnectionOptions
from bridge.adapters.amqp.suspects import Suspects
from bridge.adapters.amqp.topology import declare
from bridge.ports import PublisherFull

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.amqp.connection import Broker
    from bridge.adapters.amqp.topology import Topology
    from bridge.domain.messages import Outgoing

#: Seconds until a message is tried again that the broker refused (a nack: a full queue).
REFUSED_PAUSE = 1.0
#: Seconds without the oldest confirm after which the broker does not count as available.
STALLED = 1.0
#: Seconds without it after which it counts as out of service: longer than a queue takes to elect another leader.
OUTAGE = 15.0
#: Seconds without a connection after which it does: longer than turning to another node takes. A consumer that is ended
#: meanwhile can't be made anew before the broker gives up the node of the queue's old leader (docs/cluster.md).
RECONNECTING = 3.0
#: Seconds that a confirm may take on the channels that events do not wait for: longer than the broker takes to give a
#: node up (`net_ticktime`, up to 75 s). A new channel would wait as long, and the events' would be new too.
TIMEOUT = 90.0
#: Channels for delayed copies, between which the queues of the delay are divided.
DELAY_CHANNELS = 4


class AmqpPublisher(ConnectionOwner):
    """Fills the port `Publisher`."""

    def __init__(
        self,
        connection: ConnectionOptions,
        topology: Topology,
        *,
        declares: bool = True,
        deadline: float = 20.0,
        limit: int = 10_000,
        unrouted: Callable[[], None] = lambda: None,
    ) -> None:
        """`deadline`: seconds until an event without an answer makes us give the connection up.

        `unrouted` is called, on the link's thread, for each message that had to go to its fallback.
        """
        super().__init__(connection)
        #: See `bridge.ports.Publisher`.
        self.flush = self._connection.flush
        self._topology = topology
        self._declares = declares
        self._limit = limit
        self._on_unrouted = unrouted
        #: What was taken and is on no channel yet; and how many others are not confirmed.
        self._inbox: deque[Publish] = deque()
        self._open = 0
        timeout = max(deadline, TIMEOUT)
        deadlines = [deadline, timeout, deadline, *[timeout] * DELAY_CHANNELS]
        self._channels = [
            ConfirmChannel[Publish](
                refused=self._on_nack, returned=self._unrouted, deadline=seconds, simplified=self._simplified
            )
            for seconds in deadlines
        ]
        self._events, self._direct, self._replies, *self._delayed = self._channels
        self._refused: deque[Publish] = deque()
        self._suspects = Suspects()
        #: When the connection was lost, in `Clock.monotonic` seconds; None while there is one.
        self._lost_at: float | None = -inf
        #: Whether something that must be routed was not, and whether there was a connection before.
        self._lacking = self._was_open = False
        #: Whether it is we who end the connection, for want of a confirm: that is no message's fault.
        self._has_given_up = False
        self._log = structlog.get_logger()

    def publish(self, message: Outgoing, confirmed: Callable[[], None], *, soon: bool = True) -> None:
        """Take a message; see `bridge.ports.Publisher`."""
        if len(self._inbox) + self._open >= self._limit:
            raise PublisherFull(f"{self._limit} messages wait for the broker's confirm")
        self._inbox.append(Publish(message, confirmed, self._address(message)))
        if soon:
            self._connection.wake()
        else:
            self._connection.unflushed = True

    @property
    def available(self) -> bool:
        """Whether the broker takes messages now."""
        connection = self._connection
        return connection.connected and not connection.blocked and self._seconds_without_confirm < STALLED

    @property
    def out_of_service(self) -> bool:
        """Whether the broker takes none, and more than an election or a new connection is the reason."""
        if (lost_at := self._lost_at) is not None:
            return self._clock.monotonic() - lost_at >= RECONNECTING
        return self._connection.blocked or self._seconds_without_confirm >= OUTAGE

    @property
    def _seconds_without_confirm(self) -> float:
        """For how long the oldest event has not been confirmed; negative without one."""
        return self._clock.monotonic() - self._events.oldest_at

    def _address(self, message: Outgoing) -> tuple[str, str]:
        if message.delay is None:
            return message.exchange, message.routing_key
        return self._topology.delayed(message.routing_key, message.delay)

    # --- the link's thread ---------------------------------------------------------------------------------------

    def opened(self, broker: Broker) -> None:
        """Declare, and have confirms and returns come to us."""
        if self._declares:
            declare(broker, self._topology, anew=self._lacking, compares=not self._was_open)
        for channel in self._channels:
            channel.open(broker)
        self._lacking, self._was_open, self._lost_at = False, True, None
        self._suspects.connected(self._clock.monotonic())

    def work(self, broker: Broker) -> None:
        """Write what waits, as far as the windows and the broker allow."""
        if self._lacking and self._declares:
            raise ConnectionDown("what is missing on the broker is declared on a new connection")
        now = self._clock.monotonic()
        self._sort(now)
        are_held = self._are_held(broker, now) or broker.blocked
        unconfirmed, has_written = 0, False
        for channel in self._channels:
            if channel.waiting or channel.unconfirmed:
                try:
                    channel.check_deadline(broker, now)
                except ConfirmLate as late:
                    self._give_up(channel, broker, late)
                if not are_held and channel.write(broker, now):
                    has_written, self._suspects.is_alone = True, False
                unconfirmed += len(channel.waiting) + len(channel.unconfirmed)
        if has_written:
            broker.flush()
        suspects = len(self._suspects.waiting) + len(self._suspects.quarantined)
        self._open = unconfirmed + len(self._refused) + suspects

    def _sort(self, now: float) -> None:
        """Put what was taken on its channel, behind the rest, and what was refused and is due before the rest."""
        for _ in range(len(self._inbox)):
            publish = self._inbox.popleft()
            self._open += 1
            self._channel_of(publish.message).waiting.append(publish)
        due = []
        while self._refused and self._refused[0].not_before <= now:
            due.append(self._refused.popleft())
        for publish in reversed(due):
            self._channel_of(publish.message).waiting.appendleft(publish)

    def _channel_of(self, message: Outgoing) -> ConfirmChannel[Publish]:
        if message.delay is not None:
            # By the queue that it comes to first.
            return self._delayed[message.delay.bit_length() % DELAY_CHANNELS]
        if message.droppable:
            return self._replies
        return self._events if message.exchange else self._direct

    def _are_held(self, broker: Broker, now: float) -> bool:
        """Return whether all others wait for a suspect; write one once nothing is under way."""
        suspects = self._suspects
        if suspects.quarantined:
            suspects.try_quarantined(now)
        if not (suspects.waiting or suspects.is_alone):
            return False
        is_idle = not any(channel.unconfirmed for channel in self._channels)
        if suspects.holds(now, is_idle=is_idle):
            return True
        if not (suspects.waiting and is_idle):
            return False
        if not broker.blocked and broker.check_capacity():
            publish = suspects.waiting.popleft()
            channel = self._channel_of(publish.message)
            channel.waiting.appendleft(publish)
            channel.write(broker, now, most=1)
            broker.flush()
            suspects.is_alone = True
        return True

    def _give_up(self, channel: ConfirmChannel[Publish], broker: Broker, late: ConfirmLate) -> None:
        """End the connection; replies are not worth one and are dropped."""
        if channel is not self._replies:
            self._has_given_up = True
            raise late
        for publish in channel.renew(broker):
            self._drop(publish)

    def lost(self) -> None:
        """Have what was not confirmed published again, in its order: it may be stored or not, its id is the same."""
        if self._lost_at is None:
            self._lost_at = self._clock.monotonic()
        for channel in self._channels:
            again = [publish for publish in channel.lose() if self._goes_again(publish)]
            channel.waiting.extendleft(reversed(again))
        self._has_given_up = False

    def _goes_again(self, publish: Publish) -> bool:
        """Return whether what was under way is published again as before; else it is dropped, or a suspect."""
        if self._has_given_up:
            return True
        if publish.message.droppable:
            if not self._has_failed(publish):
                self._suspects.waiting.append(publish)
            return False
        if is_suspect := self._suspects.fails_once_too_often(publish):
            self._suspects.judge(publish, self._clock.monotonic())
        return not is_suspect

    def _has_failed(self, publish: Publish) -> bool:
        """Count a failure of what may be dropped, and drop it after the last: it must not hold up what may not."""
        if is_last := self._suspects.fails_once_too_often(publish):
            self._drop(publish)
        return is_last

    def _drop(self, publish: Publish) -> None:
        self._log.warning("message.dropped", type=publish.message.properties.get("type"))
        publish.confirmed()

    def _simplified(self, message: Outgoing, reason: str) -> None:
        self._log.warning("message.simplified", type=message.properties.get("type"), reason=reason)

    def _on_nack(self, publish: Publish) -> None:
        self._log.warning("broker.nacked", routing_key=publish.message.routing_key)
        if not (publish.message.droppable and self._has_failed(publish)):
            self._try_later(publish)

    def _try_later(self, publish: Publish) -> None:
        publish.not_before = self._clock.monotonic() + REFUSED_PAUSE
        self._refused.append(publish)

    def _unrouted(self, publish: Publish) -> None:
        message = publish.message
        if message.fallback is not None:
            self._on_unrouted()
            publish.message = replace(message, exchange="", routing_key=message.fallback, fallback=None)
            publish.address = "", message.fallback
            self._direct.waiting.append(publish)
        elif message.droppable:
            publish.confirmed()
        else:
            self._log.warning("broker.unrouted", exchange=message.exchange, routing_key=message.routing_key)
            self._try_later(publish)
            self._lacking = True
