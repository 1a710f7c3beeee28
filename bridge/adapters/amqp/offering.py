"""Offers messages on a connection of its own: each is published once, and who waits for it learns what the broker says.

`AmqpPublisher` publishes until a message is confirmed, however long that takes. Whoever hands over a command over HTTP
waits a few seconds and then decides: what was not confirmed must not be published an hour later. And the connection is
another one, since a broker that refuses one kind of message ends the connection it came on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from bridge.adapters.amqp.confirming import ConfirmedChannel
from bridge.adapters.amqp.encoding import encode
from bridge.adapters.amqp.link import Link, LinkDown
from bridge.adapters.amqp.publisher import STALLED
from bridge.adapters.amqp.topology import declare
from bridge.ports import Offered

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.amqp.connection import Broker
    from bridge.adapters.amqp.opening import BrokerAddress
    from bridge.adapters.amqp.topology import Topology
    from bridge.domain.messages import Outgoing
    from bridge.ports import Clock


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
        deadline: float = 20.0,
        limit: int = 1000,
    ) -> None:
        """Beyond `limit` offers whose fate is open, others are not taken."""
        self._topology = topology
        self._clock = clock
        self._declares = declares
        #: Seconds until a publish without an answer makes us give the connection up.
        self._deadline = deadline
        self._limit = limit
        self._offers: ConfirmedChannel[_Offer] = ConfirmedChannel(self._on_ack, self._on_nack)
        self._blocked = False
        #: Whether something that must be routed was not, and whether there was a connection before.
        self._lacking = self._was_open = False
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
        if not self.available or len(self._offers) >= self._limit:
            told(Offered.NOT_TAKEN)
            return
        self._offers.waiting.append(_Offer(message, told, until))
        self._link.wake()

    @property
    def available(self) -> bool:
        """Whether the broker takes messages now."""
        oldest = self._offers.oldest
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
        broker.on_alarm = self._on_alarm
        if self._declares:
            declare(broker, self._topology, anew=self._lacking, compares=not self._was_open)
        self._offers.open(broker)
        self._lacking, self._was_open = False, True

    def work(self, broker: Broker) -> None:
        """Write what waits, as far as window and broker allow, and forget what waits too long."""
        if self._lacking and self._declares:
            raise LinkDown("what is missing on the broker is declared on a new connection")
        now, offers = self._clock.monotonic(), self._offers
        offers.note_oldest()
        if not self._blocked and offers.oldest is not None and now - offers.oldest > self._deadline:
            raise LinkDown(f"no confirm within {self._deadline} s")
        while offers.waiting and offers.waiting[0].until <= now:
            offers.waiting.popleft().told(Offered.NOT_TAKEN)
        offers.renew_if_refused(broker)
        while offers.is_ready and not self._blocked and broker.takes_more():
            self._gather(broker, offers.waiting.popleft(), now)
        broker.flush()
        offers.note_oldest()

    def lost(self) -> None:
        """Tell all who wait; what was written may be stored or not."""
        self._blocked = False
        lost = [*self._offers.lose(), *self._offers.waiting]
        self._offers.waiting.clear()
        for offer in lost:
            offer.told(Offered.NOT_TAKEN)

    def _gather(self, broker: Broker, offer: _Offer, now: float) -> None:
        message = offer.message
        offer.address = message.exchange, message.routing_key
        # What does not fit is an id of more than 255 bytes; then the body has it.
        encoded, _ = encode(message, frame_max=broker.connection.frame_max)
        self._offers.gather(broker, offer, encoded, now)

    def _on_ack(self, offer: _Offer) -> None:
        offer.told(Offered.UNROUTABLE if offer.returned else Offered.TAKEN)
        if offer.returned:
            exchange, routing_key = offer.address
            self._log.warning("broker.unrouted", exchange=exchange, routing_key=routing_key)
            self._lacking = True

    def _on_nack(self, offer: _Offer) -> None:
        self._log.warning("broker.nacked", routing_key=offer.message.routing_key)
        offer.told(Offered.NOT_TAKEN)

    def _on_alarm(self, is_blocked: bool) -> None:  # noqa: FBT001 - see `Broker.on_alarm`
        self._blocked = is_blocked
        if is_blocked:
            self._log.warning("broker.blocked", hint="an alarm of memory or disk: see the broker's log")
        else:
            self._log.info("broker.unblocked")
            self._offers.excuse(self._clock.monotonic())
