"""The connections of a process to the broker."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import structlog

from bridge.app import parts

if TYPE_CHECKING:
    from bridge.adapters.amqp.handshake import BrokerAddress
    from bridge.adapters.amqp.link import LinkOptions
    from bridge.adapters.store.ledger import SqlLedger
    from bridge.app.admin import Outlet
    from bridge.app.process import ProcessContext
    from bridge.ports import Offering, Publisher
    from bridge.worker.flow_control import PausableSource
    from bridge.worker.gauges import Source
    from bridge.worker.worker import Worker

    class Connected(Protocol):
        """A part with a connection and a thread for it, which counts its `rounds`."""

        @property
        def rounds(self) -> int: ...
        def start(self) -> None: ...
        def stop(self, timeout: float = 5.0) -> None: ...

    class ConnectedPublisher(Connected, Outlet, Publisher, Protocol): ...

    class ConnectedOffering(Connected, Outlet, Offering, Protocol): ...

    class ConnectedSource(Connected, Source, PausableSource, Protocol): ...


class BrokerConnections:
    """RabbitMQ. What one kind of process alone needs is imported when it is asked for."""

    def __init__(self, context: ProcessContext) -> None:
        self.context = context
        self.topology = parts.topology(context.settings)

    def publisher(self, name: str, *, limit: int) -> ConnectedPublisher:
        """Return what publishes, with at most `limit` messages unconfirmed; `name` is shown by the broker."""
        from bridge.adapters.amqp.publisher import AmqpPublisher

        broker = self.context.settings.broker
        return AmqpPublisher(
            self._link(name),
            self.topology,
            declares=broker.declare,
            deadline=broker.publish_deadline,
            limit=limit,
            unrouted=self.context.metrics.unrouted.inc,
        )

    def offering(self, name: str, *, limit: int) -> ConnectedOffering:
        """Return what publishes commands for those who wait for the answer, at most `limit` at once."""
        from bridge.adapters.amqp.offers import AmqpOffers

        broker = self.context.settings.broker
        return AmqpOffers(
            self._link(name),
            self.topology,
            declares=broker.declare,
            deadline=broker.publish_deadline,
            limit=limit,
        )

    def source(self, name: str, worker: Worker, ledger: SqlLedger) -> ConnectedSource:
        """Return what brings a worker commands; another ledger than the command queue's ends the process."""
        from bridge.adapters.amqp.consumer import AmqpConsumer
        from bridge.adapters.amqp.ledger_mark import LedgerMark
        from bridge.app.sending import loss_matters_for

        def mistaken(reason: str) -> None:
            structlog.get_logger().error("ledger.mistaken", reason=reason)
            self.context.stopping.crash(os.EX_CONFIG)

        settings = self.context.settings
        source = AmqpConsumer(
            self._link(name),
            worker,
            self.topology,
            prefetch=settings.worker.prefetch,
            declares=settings.broker.declare,
            mark=LedgerMark(ledger.lineages, max_age=loss_matters_for(settings), mistaken=mistaken),
        )
        ledger.lineages.on_moved = source.compare_again
        return source

    @cached_property
    def _address(self) -> BrokerAddress:
        return parts.address_of_process(self.context.settings)

    def _link(self, name: str) -> LinkOptions:
        return parts.link(self._address, name, self.context.clock, self.context.stopping.crash)
