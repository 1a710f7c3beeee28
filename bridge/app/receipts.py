"""Asking for receipts, in a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.adapters.cpaas.archive import CpaasStatuses
from bridge.app import parts, sending
from bridge.jobs.context import JobContext
from bridge.jobs.receipt_calls import Asking
from bridge.jobs.receipts import PollerRules, ReceiptPoller, batch_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from bridge.adapters.cpaas.client import CpaasClient
    from bridge.ops.metrics import Metrics
    from bridge.ports import Clock, Publisher, Receipts
    from bridge.settings import Settings
    from bridge.worker.worker import Worker


def receipt_poller(
    settings: Settings,
    open_receipts: Callable[[], Receipts],
    client: CpaasClient,
    publisher: Publisher,
    worker: Worker,
    clock: Clock,
    metrics: Metrics,
    stopping: threading.Event,
) -> ReceiptPoller | None:
    """Return what asks for receipts beside `worker`; None where that is not configured."""
    if not settings.receipts.poll:
        return None
    per_second = settings.receipts.per_second
    asking = Asking(
        CpaasStatuses(client.history),
        may_ask=lambda: not worker.shut,
        per_second=per_second,
        clock=clock,
        metrics=metrics,
        stopping=stopping,
    )
    rules = PollerRules(
        tell=parts.teller(settings),
        receipts=sending.receipt_rules(settings),
        batch=batch_of(per_second),
        style=parts.style(settings),
    )
    context = JobContext(clock=clock, metrics=metrics, stopping=stopping)
    return ReceiptPoller(open_receipts, asking, publisher, rules, context)
