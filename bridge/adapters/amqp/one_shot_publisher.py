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
from bridge.adapters.amqp.connection_owner import ConnectionOwner
from bridge.adapters.amqp.connection_thread import ConnectionDown, ConnectionOptions
from bridge.adapters.amqp.publisher import STALLED
from bridge.adapters.amqp.topology import declare
from bridge.ports import OneShotResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.amqp.connection import Broker
    from bridge.adapters.amqp.topology import Topology
    from bridge.domain.messages import Outgoing


@dataclass(slots=True, eq=False, kw_only=True)
class PendingPublish(Publish):
    """A message whose sender waits for it."""

    answer: Callable[[OneShotResult], None] = field(repr=False)
    #: Not written after it: `Clock.monotonic` seconds.
    until: float


class AmqpOneShotPublisher(ConnectionOwner):
    """Fills the port `OneShotPublisher`."""

    def __init__(
        self,
        connection: ConnectionOptions,
        topology: Topology,
        *,
        declares: bool = True,
        deadline: float = 20.0,
        limit: int = 1000,
    ) -> None:
        """Beyond `limit` offers whose fate is open, others are not taken.

        `deadline`: seconds until a publish without an answer makes us give the connection up.
        """
        super().__init__(connection)
        self._topology = topology
        self._declares = declares
        self._limit = limit
        self._one_shots = ConfirmChannel[PendingPublish](
            refused=self._on_nack, returned=self._on_returned, deadline=deadline
        )
        #: Whether something that must be routed was not, and whether there was a connection before.
        self._lacking = self._was_open = False
        self._log = structlog.get_logger()

    def publish_once(
        self, message: Outgoing, answered: Callable[[OneShotResult], None], *, until: float
    ) -> None:
        """Publish a message once; see `bridge.ports.OneShotPublisher`."""
        one_shots = self._one_shots
        if not self.available or len(one_shots.waiting) + len(one_shots.unconfirmed) >= self._limit:
            answered(OneShotResult.NOT_TAKEN)
            return
        address = message.exchange, message.routing_key
        taken = partial(answered, OneShotResult.TAKEN)
        one_shots.waiting.append(PendingPublish(message, taken, address, answer=answered, until=until))
        self._connection.wake()

    @property
    def available(self) -> bool:
        """Whether the broker takes messages now."""
        is_stalled = self._clock.monotonic() - self._one_shots.oldest_at >= STALLED
        return self._connection.connected and not self._connection.blocked and not is_stalled

    # --- the link's thread ---------------------------------------------------------------------------------------

    def opened(self, broker: Broker) -> None:
        """Declare, and have confirms and returns come to us."""
        if self._declares:
            declare(broker, self._topology, anew=self._lacking, compares=not self._was_open)
        self._one_shots.open(broker)
        self._lacking, self._was_open = False, True

    def work(self, broker: Broker) -> None:
        """Write what waits, as far as window and broker allow, and forget what waits too long."""
        if self._lacking and self._declares:
            raise ConnectionDown("what is missing on the broker is declared on a new connection")
        now, one_shots = self._clock.monotonic(), self._one_shots
        one_shots.check_deadline(broker, now)
        while one_shots.waiting and one_shots.waiting[0].until <= now:
            one_shots.waiting.popleft().answer(OneShotResult.NOT_TAKEN)
        if not broker.blocked and one_shots.write(broker, now):
            broker.flush()

    def lost(self) -> None:
        """Answer all that wait; what was written may be stored or not."""
        lost = [*self._one_shots.lose(), *self._one_shots.waiting]
        self._one_shots.waiting.clear()
        for pending in lost:
            pending.answer(OneShotResult.NOT_TAKEN)

    def _on_returned(self, pending: PendingPublish) -> None:
        pending.answer(OneShotResult.UNROUTABLE)
        exchange, routing_key = pending.address
        self._log.warning("broker.unrouted", exchange=exchange, routing_key=routing_key)
        self._lacking = True

    def _on_nack(self, pending: PendingPublish) -> None:
        self._log.warning("broker.nacked", routing_key=pending.message.routing_key)
        pending.answer(OneShotResult.NOT_TAKEN)
