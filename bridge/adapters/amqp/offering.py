"""Offers messages on a connection of its own: each is published once, and who waits for it learns what the broker says.

`AmqpPublisher` publishes until a message is confirmed, however long that takes. Whoever hands over a command over HTTP
waits a few seconds and then decides: what was not confirmed must not be published an hour later. And the connection is
another one, since a broker that refuses one kind of message ends the connection it came on.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from bridge.adapters.amqp.encoding import encode
from bridge.adapters.amqp.link import Link, LinkDown
from bridge.adapters.amqp.matching import mark_returned, take
from bridge.adapters.amqp.publisher import STALLED, WINDOW
from bridge.adapters.amqp.topology import declare
from bridge.ports import Offered

if TYPE_CHECKING:
    from collections.abc import Callable

    import amqp

    from bridge.adapters.amqp.connection import Broker
    from bridge.adapters.amqp.opening import BrokerAddress
    from bridge.adapters.amqp.topology import Topology
    from bridge.ports import Clock, Outgoing


@dataclass(slots=True)
class _Offer:
    """A message that somebody waits for."""

    message: Outgoing
    told: Callable[[Offered], None] = field(repr=False)
    #: Not written after it, and when it was: `Clock.monotonic` seconds.
    until: float
    written_at: float = 0.0
    #: The exchange and routing key it was written with.
    address: tuple[str, str] = ("", "")
    returned: bool = False


class AmqpOffering:
    """Fills the port `Offering`."""

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
        limit: int = 1000,
    ) -> None:
        """Beyond `limit` offers whose fate is open, others are not taken."""
        self._topology = topology
        self._clock = clock
        self._declares = declares
        #: Seconds until a publish without an answer makes us give the connection up.
        self._deadline = deadline
        self._limit = limit
        self._waiting: deque[_Offer] = deque()
        self._unconfirmed: dict[int, _Offer] = {}
        self._channel: Any = None
        self._tag = 0
        self._blocked = False
        #: Whether a queue was missing that we could declare.
        self._lacking = False
        #: When the oldest of the unconfirmed was written; None where there is none. The link's thread keeps it.
        self._oldest: float | None = None
        self._log = structlog.get_logger()
        self._link = Link(name, address, self, clock, on_crash)

    def start(self) -> None:
        """Begin to connect."""
        self._link.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Close the connection, within `timeout` seconds."""
        self._link.stop(timeout)

    def offer(self, message: Outgoing, told: Callable[[Offered], None], *, until: float) -> None:
        """Publish a message once; see `bridge.ports.Offering`."""
        if not self.available or len(self._waiting) + len(self._unconfirmed) >= self._limit:
            told(Offered.NOT_TAKEN)
            return
        self._waiting.append(_Offer(message, told, until))
        self._link.wake()

    @property
    def available(self) -> bool:
        """Whether the broker takes messages now."""
        oldest = self._oldest
        is_stalled = oldest is not None and self._clock.monotonic() - oldest >= STALLED
        return self._link.connected and not self._blocked and not is_stalled

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

    # --- the link's thread ---------------------------------------------------------------------------------------

    def opened(self, broker: Broker) -> None:
        """Declare, and have confirms and returns come to us."""
        broker.connection.on_blocked = self._on_blocked
        broker.connection.on_unblocked = self._on_unblocked
        if self._declares:
            declare(broker, self._topology)
        channel = broker.channel()
        channel.confirm_select()
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        channel.events["basic_return"].add(self._on_return)
        self._channel, self._tag, self._lacking = channel, 0, False

    def work(self, broker: Broker) -> None:
        """Write what waits, as far as window and broker allow, and forget what waits too long."""
        now = self._clock.monotonic()
        self._note_oldest()
        if not self._blocked and self._oldest is not None and now - self._oldest > self._deadline:
            raise LinkDown(f"no confirm within {self._deadline} s")
        while self._waiting and self._waiting[0].until <= now:
            self._waiting.popleft().told(Offered.NOT_TAKEN)
        while self._waiting and self._writable(broker):
            self._gather(broker, self._waiting.popleft(), now)
        broker.flush()
        self._note_oldest()

    def lost(self) -> None:
        """Tell all who wait; what was written may be stored or not."""
        self._channel, self._blocked = None, False
        lost = [*self._unconfirmed.values(), *self._waiting]
        self._unconfirmed.clear()
        self._waiting.clear()
        self._note_oldest()
        for offer in lost:
            offer.told(Offered.NOT_TAKEN)

    def _writable(self, broker: Broker) -> bool:
        return not self._blocked and len(self._unconfirmed) < WINDOW and broker.takes_more()

    def _note_oldest(self) -> None:
        oldest = next(iter(self._unconfirmed.values()), None)
        self._oldest = None if oldest is None else oldest.written_at

    def _gather(self, broker: Broker, offer: _Offer, now: float) -> None:
        message = offer.message
        # Before it is written: half a frame may have gone when that fails, so the message is under way.
        self._tag += 1
        self._unconfirmed[self._tag] = offer
        offer.written_at = now
        offer.address = message.exchange, message.routing_key
        # What does not fit is an id of more than 255 bytes; then the body has it.
        encoded, _ = encode(message, frame_max=broker.connection.frame_max)
        broker.gather(
            self._channel, encoded, exchange=message.exchange, routing_key=message.routing_key, mandatory=True
        )

    def _on_ack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - py-amqp's callback
        for offer in take(self._unconfirmed, tag, multiple=multiple):
            offer.told(Offered.UNROUTABLE if offer.returned else Offered.TAKEN)
        # Only now: all that the broker answered for has been dealt with.
        if self._lacking and self._declares:
            raise LinkDown("what is missing on the broker is declared on a new connection")

    def _on_nack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - py-amqp's callback
        for offer in take(self._unconfirmed, tag, multiple=multiple):
            self._log.warning("broker.nacked", routing_key=offer.message.routing_key)
            offer.told(Offered.NOT_TAKEN)

    def _on_return(self, _error: object, exchange: str, routing_key: str, returned: amqp.Message) -> None:
        """Mark what came back unrouted; its ack follows."""
        if not mark_returned(self._unconfirmed, exchange, routing_key, returned):
            raise LinkDown(f"exchange {exchange!r} returned a message that is not ours")
        self._log.warning("broker.unrouted", exchange=exchange, routing_key=routing_key)
        self._lacking = True

    def _on_blocked(self, _reason: str) -> None:
        self._blocked = True
        self._log.warning("broker.blocked", hint="an alarm of memory or disk: see the broker's log")

    def _on_unblocked(self) -> None:
        self._blocked = False
        self._log.info("broker.unblocked")
        # What waited meanwhile is not late.
        now = self._clock.monotonic()
        for offer in self._unconfirmed.values():
            offer.written_at = now
