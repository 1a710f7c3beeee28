"""Factory of a worker's receipt poller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.adapters.cpaas.archive import CpaasStatuses
from bridge.app import command_client, parts
from bridge.jobs.receipt_calls import StatusPolling
from bridge.jobs.receipts import PollerRules, ReceiptPoller, batch_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from bridge.adapters.cpaas.client import CpaasClient
    from bridge.app.process import ProcessContext
    from bridge.ports import Receipts
    from bridge.worker.parts import WorkerPorts
    from bridge.worker.worker import Worker


def receipt_poller(
    context: ProcessContext,
    ports: WorkerPorts,
    client: CpaasClient,
    worker: Worker,
    stopping: threading.Event,
    open_receipts: Callable[[], Receipts],
) -> ReceiptPoller:
    """Return the poller, which runs while the circuit breaker of `worker` is closed; `stopping` ends its waits."""
    settings = context.settings
    per_second = settings.receipts.per_second
    polling = StatusPolling(
        CpaasStatuses(client.history),
        may_ask=lambda: not worker.breaker_is_open,
        per_second=per_second,
        clock=ports.clock,
        metrics=context.metrics,
        stopping=stopping,
    )
    rules = PollerRules(
        to_message=parts.message_maker(settings),
        receipts=command_client.receipt_rules(settings),
        batch=batch_of(per_second),
        style=parts.style(settings),
    )
    return ReceiptPoller(open_receipts, polling, ports.publisher, rules)
