"""Publishes on a connection of its own, many at a time, and matches each confirm and return to what it published.

kombu waits for *a* confirm and takes it for the last publish's. Here each publish keeps its tag until the broker names
that tag, so a confirm is what it says (docs/decisions.md).

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

from bridge.adapters.amqp.confirming import ConfirmedChannel
from bridge.adapters.amqp.encoding import encode
from bridge.adapters.amqp.link import Link, LinkDown
from bridge.adapters.amqp.publish import Publish
from bridge.adapters.amqp.suspects import Suspects
from bridge.adapters.amqp.topology import declare
from bridge.ports import PublisherFull

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.amqp.connection import Broker
    from bridge.adapters.amqp.opening import BrokerAddress
    from bridge.adapters.amqp.topology import Topology
    from bridge.domain.messages import Outgoing
    from bridge.ports import Clock

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
PATIENCE = 90.0
#: Channels for delayed copies, between which the queues of the delay are divided.
DELAY_CHANNELS = 4


class AmqpPublisher:
    """Fills the port `Publisher`."""

    def __init__(
        self,
        address: BrokerAddress,
        *,
        topology: Topology,
        clock: Clock,
        name: str,
        on_crash: Callable[[], None],
        declares: bool = True,
        deadline: float = 20.0,
        limit: int = 10_000,
        unrouted: Callable[[], None] = lambda: None,
    ) -> None:
        """`unrouted` is called, on the link's thread, for each message that had to go to its fallback."""
        self._topology = topology
        self._on_unrouted = unrouted
        self._clock = clock
        self._declares = declares
        #: Seconds until an event without an answer makes us give the connection up.
        self._deadline = deadline
        self._limit = limit
        self._channels = [
            ConfirmedChannel[Publish](self._on_ack, self._on_nack) for _ in range(3 + DELAY_CHANNELS)
        ]
        self._events, self._direct, self._replies, *self._delayed = self._channels
        self._refused: deque[Publish] = deque()
        self._suspects: Suspects[Publish] = Suspects()
        self._blocked = False
        #: Whether the link was not woken yet for what was taken last; whoever flushes keeps it.
        self._unflushed = False
        #: When the connection was lost, in `Clock.monotonic` seconds; None while there is one.
        self._lost_at: float | None = -inf
        #: Whether something that must be routed was not, and whether there was a connection before.
        self._lacking = self._was_open = False
        #: Whether it is we who end the connection, for want of a confirm: that is no message's fault.
        self._has_given_up = False
        self._log = structlog.get_logger()
        self._link = Link(name, address, self, clock, on_crash)

    def start(self) -> None:
        """Begin to connect."""
        self._link.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Close the connection, within `timeout` seconds. What is not confirmed by then is not told."""
        self._link.stop(timeout)

    def publish(self, message: Outgoing, told: Callable[[], None], *, soon: bool = True) -> None:
        """Take a message; see `bridge.ports.Publisher`."""
        if sum(map(len, self._channels)) + len(self._refused) + len(self._suspects) >= self._limit:
            raise PublisherFull(f"{self._limit} messages wait for the broker's confirm")
        self._channel_of(message).waiting.append(Publish(message, told))
        if soon:
            self._link.wake()
        else:
            self._unflushed = True

    def flush(self) -> None:
        """See `bridge.ports.Publisher`."""
        if self._unflushed:
            self._unflushed = False
            self._link.wake()

    @property
    def available(self) -> bool:
        """Whether the broker takes messages now."""
        return self._link.connected and not self._blocked and self._age(self._events) < STALLED

    @property
    def out_of_service(self) -> bool:
        """Whether the broker takes none, and more than an election or a new connection is the reason."""
        if (lost_at := self._lost_at) is not None:
            return self._clock.monotonic() - lost_at >= RECONNECTING
        return self._blocked or self._age(self._events) >= OUTAGE

    @property
    def rounds(self) -> int:
        """How often the link's thread went round."""
        return self._link.rounds

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self._link.connected

    @property
    def blocked(self) -> bool:
        """Whether the broker has blocked us: an alarm of memory or disk."""
        return self._blocked

    def _age(self, channel: ConfirmedChannel[Publish]) -> float:
        """Return for how long the channel's oldest message has not been confirmed. From any thread."""
        oldest = channel.oldest
        return 0.0 if oldest is None else self._clock.monotonic() - oldest

    def _channel_of(self, message: Outgoing) -> ConfirmedChannel[Publish]:
        if message.delay is not None:
            # By the queue that it comes to first.
            return self._delayed[message.delay.bit_length() % DELAY_CHANNELS]
        if message.droppable:
            return self._replies
        return self._events if message.exchange else self._direct

    # --- the link's thread ---------------------------------------------------------------------------------------

    def opened(self, broker: Broker) -> None:
        """Declare, and have confirms and returns come to us."""
        broker.on_alarm = self._on_alarm
        if self._declares:
            declare(broker, self._topology, anew=self._lacking, compares=not self._was_open)
        for channel in self._channels:
            channel.open(broker)
        self._lacking, self._was_open, self._lost_at = False, True, None
        self._suspects.connected(self._clock.monotonic())

    def work(self, broker: Broker) -> None:
        """Write what waits, as far as the windows and the broker allow."""
        if self._lacking and self._declares:
            raise LinkDown("what is missing on the broker is declared on a new connection")
        now = self._clock.monotonic()
        self._note_oldest()
        self._check_deadlines(broker)
        due = []
        while self._refused and self._refused[0].not_before <= now:
            due.append(self._refused.popleft())
        for publish in reversed(due):
            self._channel_of(publish.message).waiting.appendleft(publish)
        for channel in self._channels:
            channel.renew_if_refused(broker)
        self._suspects.try_a_convict(now)
        while (waiting := self._next(now)) and not self._blocked and broker.takes_more():
            self._suspects.is_alone = waiting is self._suspects.waiting
            self._gather(broker, waiting.popleft(), now)
        broker.flush()
        self._note_oldest()

    def _next(self, now: float) -> deque[Publish] | None:
        """Return the queue whose first may be written now; None for none."""
        suspects = self._suspects
        if suspects.waiting or suspects.is_alone:
            is_quiet = not any(channel.unconfirmed for channel in self._channels)
            if suspects.holds(now, is_quiet=is_quiet):
                return None
            if suspects.waiting and is_quiet:
                return suspects.waiting
        return next((channel.waiting for channel in self._channels if channel.is_ready), None)

    def _note_oldest(self) -> None:
        for channel in self._channels:
            channel.note_oldest()

    def lost(self) -> None:
        """Have what was not confirmed published again, in its order: it may be stored or not, its id is the same."""
        self._blocked = False
        if self._lost_at is None:
            self._lost_at = self._clock.monotonic()
        for channel in self._channels:
            again = [publish for publish in channel.lose() if self._goes_again(publish)]
            channel.waiting.extendleft(reversed(again))
        self._has_given_up = False

    def _goes_again(self, publish: Publish) -> bool:
        """Return whether what was under way is published again as before; else it is dropped, or a suspect."""
        publish.returned = False
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
        publish.told()

    def _check_deadlines(self, broker: Broker) -> None:
        """Distrust a connection that neither confirms nor says that it is blocked; replies are not worth one."""
        if self._blocked:
            return
        if self._age(self._replies) > self._deadline:
            for publish in self._replies.renew(broker):
                self._drop(publish)
        for channel in self._channels:
            deadline = self._deadline if channel is self._events else max(self._deadline, PATIENCE)
            if self._age(channel) > deadline:
                self._has_given_up = True
                raise LinkDown(f"no confirm within {deadline:g} s")

    def _gather(self, broker: Broker, publish: Publish, now: float) -> None:
        message = publish.message
        publish.address = message.exchange, message.routing_key
        if message.delay is not None:
            publish.address = self._topology.delayed(message.routing_key, message.delay)
        encoded, reason = encode(message, frame_max=broker.connection.frame_max)
        if reason is not None:
            self._log.warning("message.simplified", type=message.properties.get("type"), reason=reason)
        self._channel_of(message).gather(broker, publish, encoded, now)

    def _on_ack(self, publish: Publish) -> None:
        self._suspects.confirmed(publish, self._clock.monotonic())
        if publish.returned:
            self._unrouted(publish)
        else:
            publish.told()

    def _on_nack(self, publish: Publish) -> None:
        self._log.warning("broker.nacked", routing_key=publish.message.routing_key)
        if not (publish.message.droppable and self._has_failed(publish)):
            self._try_later(publish)

    def _try_later(self, publish: Publish) -> None:
        publish.returned = False
        publish.not_before = self._clock.monotonic() + REFUSED_PAUSE
        self._refused.append(publish)

    def _unrouted(self, publish: Publish) -> None:
        message = publish.message
        if message.fallback is not None:
            self._on_unrouted()
            publish.message = replace(message, exchange="", routing_key=message.fallback, fallback=None)
            publish.returned = False
            self._direct.waiting.append(publish)
        elif message.droppable:
            publish.told()
        else:
            self._log.warning("broker.unrouted", exchange=message.exchange, routing_key=message.routing_key)
            self._try_later(publish)
            self._lacking = True

    def _on_alarm(self, is_blocked: bool) -> None:  # noqa: FBT001 - see `Broker.on_alarm`
        self._blocked = is_blocked
        if is_blocked:
            self._log.warning("broker.blocked", hint="an alarm of memory or disk: see the broker's log")
            return
        self._log.info("broker.unblocked")
        for channel in self._channels:
            channel.excuse(self._clock.monotonic())
