"""The connections of a process to the broker."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import structlog

from bridge.app import parts

if TYPE_CHECKING:
    from bridge.adapters.amqp.connection_thread import ConnectionOptions
    from bridge.adapters.amqp.handshake import BrokerAddress
    from bridge.adapters.store.ledger import SqlLedger
    from bridge.app.admin import Outlet
    from bridge.app.process import ProcessContext
    from bridge.ports import OneShotPublisher, Publisher
    from bridge.worker.flow_control import PausableSource
    from bridge.worker.gauges import Source
    from bridge.worker.worker import Worker

    class Connected(Protocol):
        """A part with a connection thread, which counts its `iterations`."""

        @property
        def iterations(self) -> int: ...
        def start(self) -> None: ...
        def stop(self, timeout: float = 5.0) -> None: ...

    class ConnectedPublisher(Connected, Outlet, Publisher, Protocol): ...

    class ConnectedOneShotPublisher(Connected, Outlet, OneShotPublisher, Protocol): ...

    class ConnectedSource(Connected, Source, PausableSource, Protocol): ...


class BrokerConnections:
    """Connections to RabbitMQ. Modules that only one kind of process needs are imported on demand."""

    def __init__(self, context: ProcessContext) -> None:
        self.context = context
        self.topology = parts.topology(context.settings)

    def publisher(self, name: str, *, limit: int) -> ConnectedPublisher:
        """Return a publisher with at most `limit` unconfirmed messages; `name` is shown by the broker."""
        from bridge.adapters.amqp.publisher import AmqpPublisher

        broker = self.context.settings.broker
        return AmqpPublisher(
            self._connection(name),
            self.topology,
            declares=broker.declare,
            deadline=broker.publish_deadline,
            limit=limit,
            unrouted=self.context.metrics.unrouted.inc,
        )

    def one_shot(self, name: str, *, limit: int) -> ConnectedOneShotPublisher:
        """Return the one-shot publisher of commands, with at most `limit` in flight; callers wait for the result."""
        from bridge.adapters.amqp.one_shot_publisher import AmqpOneShotPublisher

        broker = self.context.settings.broker
        return AmqpOneShotPublisher(
            self._connection(name),
            self.topology,
            declares=broker.declare,
            deadline=broker.publish_deadline,
            limit=limit,
        )

    def source(self, name: str, worker: Worker, ledger: SqlLedger) -> ConnectedSource:
        """Return the source of a worker's commands. The process ends if the queue is bound to another ledger."""
        from bridge.adapters.amqp.consumer import AmqpConsumer
        from bridge.adapters.amqp.ledger_identity import LedgerIdentity
        from bridge.app.command_client import loss_matters_for

        def on_mismatch(reason: str) -> None:
            structlog.get_logger().error("ledger.mismatched", reason=reason)
            self.context.stopping.crash(os.EX_CONFIG)

        settings = self.context.settings
        source = AmqpConsumer(
            self._connection(name),
            worker,
            self.topology,
            prefetch=settings.worker.prefetch,
            declares=settings.broker.declare,
            identity=LedgerIdentity(
                ledger.lineages, max_age=loss_matters_for(settings), mistaken=on_mismatch
            ),
        )
        ledger.lineages.on_moved = source.compare_again
        return source

    @cached_property
    def _address(self) -> BrokerAddress:
        return parts.address_of_process(self.context.settings)

    def _connection(self, name: str) -> ConnectionOptions:
        return parts.connection(self._address, name, self.context.clock, self.context.stopping.crash)
