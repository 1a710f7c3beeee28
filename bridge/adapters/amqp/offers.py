"""Offers messages on a connection of its own: each is published once, and its sender learns what the broker says.

`AmqpPublisher` publishes until a message is confirmed, however long that takes. A service that hands over a command
over HTTP waits a few seconds and then decides: what was not confirmed must not be published an hour later. And the
connection is another one, since a broker that refuses one kind of message ends the connection it came on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import structlog

from bridge.adapters.amqp.confirm_channel import ConfirmChannel, Publish
from bridge.adapters.amqp.link import LinkDown, LinkOptions
from bridge.adapters.amqp.link_owner import LinkOwner
from bridge.adapters.amqp.publisher import STALLED
from bridge.adapters.amqp.topology import declare
from bridge.ports import Offered

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.amqp.connection import Broker
    from bridge.adapters.amqp.topology import Topology
    from bridge.domain.messages import Outgoing


@dataclass(slots=True, eq=False, kw_only=True)
class Offer(Publish):
    """A message whose sender waits for it."""

    answer: Callable[[Offered], None] = field(repr=False)
    #: Not written after it: `Clock.monotonic` seconds.
    until: float


class AmqpOffers(LinkOwner):
    """Fills the port `Offering`."""

    def __init__(
        self,
        link: LinkOptions,
        topology: Topology,
        *,
        declares: bool = True,
        deadline: float = 20.0,
        limit: int = 1000,
    ) -> None:
        """Beyond `limit` offers whose fate is open, others are not taken.

        `deadline`: seconds until a publish without an answer makes us give the connection up.
        """
        super().__init__(link)
        self._topology = topology
        self._declares = declares
        self._limit = limit
        self._offers = ConfirmChannel[Offer](
            refused=self._on_nack, returned=self._on_returned, deadline=deadline
        )
        #: Whether something that must be routed was not, and whether there was a connection before.
        self._lacking = self._was_open = False
        self._log = structlog.get_logger()

    def offer(self, message: Outgoing, told: Callable[[Offered], None], *, until: float) -> None:
        """Publish a message once; see `bridge.ports.Offering`."""
        offers = self._offers
        if not self.available or len(offers.waiting) + len(offers.unconfirmed) >= self._limit:
            told(Offered.NOT_TAKEN)
            return
        address = message.exchange, message.routing_key
        taken = partial(told, Offered.TAKEN)
        offers.waiting.append(Offer(message, taken, address, answer=told, until=until))
        self._link.wake()

    @property
    def available(self) -> bool:
        """Whether the broker takes messages now."""
        is_stalled = self._clock.monotonic() - self._offers.oldest_at >= STALLED
        return self._link.connected and not self._link.blocked and not is_stalled

    # --- the link's thread ---------------------------------------------------------------------------------------

    def opened(self, broker: Broker) -> None:
        """Declare, and have confirms and returns come to us."""
        if self._declares:
            declare(broker, self._topology, anew=self._lacking, compares=not self._was_open)
        self._offers.open(broker)
        self._lacking, self._was_open = False, True

    def work(self, broker: Broker) -> None:
        """Write what waits, as far as window and broker allow, and forget what waits too long."""
        if self._lacking and self._declares:
            raise LinkDown("what is missing on the broker is declared on a new connection")
        now, offers = self._clock.monotonic(), self._offers
        offers.check_deadline(broker, now)
        while offers.waiting and offers.waiting[0].until <= now:
            offers.waiting.popleft().answer(Offered.NOT_TAKEN)
        if not broker.blocked and offers.write(broker, now):
            broker.flush()

    def lost(self) -> None:
        """Answer all that wait; what was written may be stored or not."""
        lost = [*self._offers.lose(), *self._offers.waiting]
        self._offers.waiting.clear()
        for offer in lost:
            offer.answer(Offered.NOT_TAKEN)

    def _on_returned(self, offer: Offer) -> None:
        offer.answer(Offered.UNROUTABLE)
        exchange, routing_key = offer.address
        self._log.warning("broker.unrouted", exchange=exchange, routing_key=routing_key)
        self._lacking = True

    def _on_nack(self, offer: Offer) -> None:
        self._log.warning("broker.nacked", routing_key=offer.message.routing_key)
        offer.answer(Offered.NOT_TAKEN)
