"""Publishes on a connection of its own, many at a time, and matches each confirm and return to what it published.

kombu waits for *a* confirm and takes it for the last publish's; after a timeout the late one confirms the next message,
which the broker may not have. Here each publish keeps its tag until the broker names that tag, so as many as allowed
are under way at once, and a confirm is what it says (docs/decisions.md).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, Any

import structlog

from bridge.adapters.amqp.encoding import encode
from bridge.adapters.amqp.link import PROVEN, Link, LinkDown
from bridge.adapters.amqp.matching import mark_returned, take
from bridge.adapters.amqp.topology import declare
from bridge.ports import Outgoing, PublisherFull

if TYPE_CHECKING:
    from collections.abc import Callable

    import amqp

    from bridge.adapters.amqp.connection import Broker
    from bridge.adapters.amqp.opening import BrokerAddress
    from bridge.adapters.amqp.topology import Topology
    from bridge.ports import Clock

#: Publishes under way at once; more wait in the queue behind them.
WINDOW = 256
#: Seconds until a message is tried again that the broker refused (a nack: a full queue).
REFUSED_PAUSE = 1.0
#: How often what may be dropped is refused, or under way when the connection is lost, before it is dropped: it may
#: itself be the reason. RabbitMQ ends the connection for a malformed `amq.rabbitmq.reply-to.` key, every time. What may
#: not be dropped is a suspect from then on.
MOST_FAILURES = 3
#: Seconds that a suspect which may not be dropped makes way for the others once it has cost a connection alone: the
#: first time, and the most it doubles to. And how long a connection is before it may be risked for one, and then for
#: no other: the others have all that time, and the link takes it for a good one.
CONVICT_PAUSE = 2 * PROVEN
LONGEST_CONVICT_PAUSE = 60.0
#: Seconds without the oldest confirm after which the broker does not count as available.
STALLED = 1.0


@dataclass(slots=True)
class _Publish:
    """A message on its way to its confirm."""

    message: Outgoing
    told: Callable[[], None] = field(repr=False)
    #: When it was last written to the broker, and when it may be: `Clock.monotonic` seconds.
    written_at: float = 0.0
    not_before: float = 0.0
    #: The exchange and routing key it was written with.
    address: tuple[str, str] = ("", "")
    returned: bool = False
    #: How often it was refused, or under way when the connection was lost.
    failures: int = 0


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
        deadline: float = 10.0,
        limit: int = 10_000,
        unrouted: Callable[[], None] = lambda: None,
    ) -> None:
        """`unrouted` is called, on the link's thread, for each message that had to go to its fallback."""
        self._topology = topology
        self._on_unrouted = unrouted
        self._clock = clock
        self._declares = declares
        #: Seconds until a publish without an answer makes us give the connection up.
        self._deadline = deadline
        self._limit = limit
        self._queue: deque[_Publish] = deque()
        self._refused: deque[_Publish] = deque()
        #: What may have cost us a connection: each is published with nothing else under way, to learn whether it did.
        self._suspects: deque[_Publish] = deque()
        #: Those that did and may not be dropped, until it is their turn again.
        self._convicts: list[_Publish] = []
        #: From when on one of them may be tried on this connection.
        self._risked_from = inf
        #: Whether what was written last is one of the suspects.
        self._alone = False
        self._unconfirmed: dict[int, _Publish] = {}
        self._channel: Any = None
        self._tag = 0
        self._blocked = False
        #: Whether the link was not woken yet for what was taken last; whoever flushes keeps it.
        self._unflushed = False
        #: Whether something that must be routed was not.
        self._lacking = False
        #: When the oldest of the unconfirmed was written; None where there is none. The link's thread keeps it.
        self._oldest: float | None = None
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
        waiting = len(self._queue) + len(self._refused) + len(self._suspects) + len(self._convicts)
        if waiting + len(self._unconfirmed) >= self._limit:
            raise PublisherFull(f"{self._limit} messages wait for the broker's confirm")
        self._queue.append(_Publish(message, told))
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
        return self._link.connected and not self._blocked and self._oldest_age() < STALLED

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

    def _oldest_age(self) -> float:
        oldest = self._oldest
        return 0.0 if oldest is None else self._clock.monotonic() - oldest

    # --- the link's thread ---------------------------------------------------------------------------------------

    def opened(self, broker: Broker) -> None:
        """Declare, and have confirms and returns come to us."""
        connection = broker.connection
        connection.on_blocked = self._on_blocked
        connection.on_unblocked = self._on_unblocked
        if self._declares:
            declare(broker, self._topology)
        channel = broker.channel()
        channel.confirm_select()
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        channel.events["basic_return"].add(self._on_return)
        self._channel, self._tag, self._lacking = channel, 0, False
        self._risked_from = self._clock.monotonic() + CONVICT_PAUSE

    def work(self, broker: Broker) -> None:
        """Write what waits, as far as the window and the broker allow."""
        now = self._clock.monotonic()
        self._note_oldest()
        self._check_deadline()
        due = []
        while self._refused and self._refused[0].not_before <= now:
            due.append(self._refused.popleft())
        self._queue.extendleft(reversed(due))
        self._try_a_convict(now)
        while (waiting := self._next()) and not self._blocked and broker.takes_more():
            self._alone = waiting is self._suspects
            self._gather(broker, waiting.popleft(), now)
        broker.flush()
        self._note_oldest()

    def _try_a_convict(self, now: float) -> None:
        if self._convicts and now >= self._risked_from and self._convicts[0].not_before <= now:
            self._risked_from = inf
            self._suspects.append(self._convicts.pop(0))

    def _acquit(self) -> None:
        """Try the others at once, one by one: what one was refused for is over, and may be for all."""
        now = self._risked_from = self._clock.monotonic()
        for convict in self._convicts:
            convict.not_before = now

    def _next(self) -> deque[_Publish] | None:
        """Return the queue whose first may be written now; None for none."""
        if self._suspects or self._alone:
            if self._unconfirmed:
                return None
            return self._suspects or self._queue
        return None if len(self._unconfirmed) >= WINDOW else self._queue

    def _note_oldest(self) -> None:
        oldest = next(iter(self._unconfirmed.values()), None)
        self._oldest = None if oldest is None else oldest.written_at

    def lost(self) -> None:
        """Have what was not confirmed published again, in its order: it may be stored or not, its id is the same."""
        self._channel, self._blocked = None, False
        unconfirmed = list(self._unconfirmed.values())
        self._unconfirmed.clear()
        again = []
        for publish in unconfirmed:
            publish.returned = False
            if publish.message.droppable:
                if not self._has_failed(publish):
                    self._suspects.append(publish)
            elif self._fails_once_too_often(publish):
                self._judge(publish)
            else:
                again.append(publish)
        self._queue.extendleft(reversed(again))
        self._note_oldest()

    def _fails_once_too_often(self, publish: _Publish) -> bool:
        """Count a failure, and say whether there were so many that it may itself be the reason."""
        publish.failures += 1
        return publish.failures >= MOST_FAILURES

    def _judge(self, publish: _Publish) -> None:
        """Have a suspect go alone; one that did, and may not be dropped, makes way for the others."""
        if not self._alone:
            self._suspects.append(publish)
            return
        doublings = min(10, publish.failures - MOST_FAILURES - 1)
        pause = min(LONGEST_CONVICT_PAUSE, CONVICT_PAUSE * 2.0**doublings)
        publish.not_before = self._clock.monotonic() + pause
        self._convicts.append(publish)
        self._convicts.sort(key=lambda convict: convict.not_before)
        properties = publish.message.properties
        self._log.error(
            "message.refused",
            message_id=properties.get("message_id"),
            type=properties.get("type"),
            routing_key=publish.message.routing_key,
            retry_in=pause,
            hint="the connection ends with it each time: see the broker's log",
        )

    def _has_failed(self, publish: _Publish) -> bool:
        """Count a failure of what may be dropped, and drop it after the last: it must not hold up what may not."""
        if not self._fails_once_too_often(publish):
            return False
        self._log.warning("message.dropped", type=publish.message.properties.get("type"))
        publish.told()
        return True

    def _check_deadline(self) -> None:
        """Distrust a connection that neither confirms nor says that it is blocked."""
        if not self._blocked and self._oldest_age() > self._deadline:
            raise LinkDown(f"no confirm within {self._deadline} s")

    def _gather(self, broker: Broker, publish: _Publish, now: float) -> None:
        message = publish.message
        # Before it is written: half a frame may have gone when that fails, so the message is under way.
        self._tag += 1
        self._unconfirmed[self._tag] = publish
        publish.written_at = now
        exchange, routing_key = message.exchange, message.routing_key
        if message.delay is not None:
            exchange, routing_key = self._topology.delayed(routing_key, message.delay)
        publish.address = exchange, routing_key
        encoded, reason = encode(message, frame_max=broker.connection.frame_max)
        if reason is not None:
            self._log.warning("message.simplified", type=message.properties.get("type"), reason=reason)
        broker.gather(self._channel, encoded, exchange=exchange, routing_key=routing_key, mandatory=True)

    def _on_ack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - py-amqp's callback
        for publish in take(self._unconfirmed, tag, multiple=multiple):
            if self._alone and publish.failures > MOST_FAILURES:
                self._acquit()
            if publish.returned:
                self._unrouted(publish)
            else:
                publish.told()
        # Only now: all that the broker answered for has been dealt with.
        if self._lacking and self._declares:
            raise LinkDown("what is missing on the broker is declared on a new connection")

    def _on_nack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - py-amqp's callback
        for publish in take(self._unconfirmed, tag, multiple=multiple):
            self._log.warning("broker.nacked", routing_key=publish.message.routing_key)
            if not (publish.message.droppable and self._has_failed(publish)):
                self._try_later(publish)

    def _try_later(self, publish: _Publish) -> None:
        publish.returned = False
        publish.not_before = self._clock.monotonic() + REFUSED_PAUSE
        self._refused.append(publish)

    def _on_return(self, _error: object, exchange: str, routing_key: str, returned: amqp.Message) -> None:
        """Mark what came back unrouted; its ack follows."""
        if not mark_returned(self._unconfirmed, exchange, routing_key, returned):
            raise LinkDown(f"exchange {exchange!r} returned a message that is not ours")

    def _unrouted(self, publish: _Publish) -> None:
        message = publish.message
        if message.fallback is not None:
            self._on_unrouted()
            publish.message = replace(message, exchange="", routing_key=message.fallback, fallback=None)
            publish.returned = False
            self._queue.append(publish)
        elif message.droppable:
            publish.told()
        else:
            self._log.warning("broker.unrouted", exchange=message.exchange, routing_key=message.routing_key)
            self._try_later(publish)
            self._lacking = True

    def _on_blocked(self, _reason: str) -> None:
        self._blocked = True
        self._log.warning("broker.blocked", hint="an alarm of memory or disk: see the broker's log")

    def _on_unblocked(self) -> None:
        self._blocked = False
        self._log.info("broker.unblocked")
        # What waited meanwhile is not late.
        now = self._clock.monotonic()
        for publish in self._unconfirmed.values():
            publish.written_at = now
