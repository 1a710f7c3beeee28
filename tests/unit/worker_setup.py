"""Shared set-up of the worker's tests: a worker without broker and provider, and its commands."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from bridge.adapters.clock import SystemClock
from bridge.app.admin import make_metrics
from bridge.app.command_client import send_rules
from bridge.domain.answers import Accepted
from bridge.domain.submissions import Attempted
from bridge.settings import Settings
from bridge.worker.ledger_clock import LedgerClock
from bridge.worker.parts import Lifecycle, WorkerOptions, WorkerPorts
from bridge.worker.worker import Worker

if TYPE_CHECKING:
    from bridge.domain.evidence import HistoryExtract, Window
    from bridge.domain.messages import Delivery
    from bridge.domain.submissions import Submission
    from bridge.ops.metrics import Metrics
    from bridge.ports import Gateway, Ledger
    from tests.fakes.publisher import FakePublisher


class NoGateway:
    """A provider that is never called."""

    def send(self, submission: Submission, *, until: float) -> Attempted:
        """Fail: no call is permitted without a claim."""
        raise AssertionError("called without a claim")

    def look_up(
        self, submission: Submission, *, window: Window | None, until: float
    ) -> HistoryExtract | None:
        """Fail, too."""
        raise AssertionError("looked up without a claim")

    def probe(self, *, until: float) -> bool:
        """Be healthy."""
        return True


class IdleSource:
    """A fake source that records settled deliveries."""

    def __init__(self) -> None:
        self.settled: list[Delivery] = []
        #: Those of them that were requeued.
        self.requeued: list[Delivery] = []

    def ack(self, delivery: Delivery) -> None:
        """Note it."""
        self.settled.append(delivery)

    def requeue(self, delivery: Delivery) -> None:
        """Note it."""
        self.requeued.append(delivery)
        self.settled.append(delivery)

    def flush(self) -> None:
        """Wait with nothing."""

    def pause(self) -> None:
        """Do nothing."""

    resume = pause


def worker_on(
    ledger: Ledger,
    crashed: threading.Event,
    publisher: FakePublisher,
    gateway: Gateway | None = None,
    *,
    concurrency: int = 1,
    metrics: Metrics | None = None,
    settings: Settings | None = None,
) -> Worker:
    """Return a worker, not started; without a `gateway` it must not call a provider."""
    return Worker(
        WorkerPorts(
            publisher=publisher,
            ledger=ledger,
            gateway=gateway or NoGateway(),
            clock=LedgerClock(SystemClock()),
        ),
        WorkerOptions(rules=send_rules(settings or Settings()), concurrency=concurrency, spare=0, owner="me"),
        Lifecycle(stopping=threading.Event(), on_crash=crashed.set, on_unusable=crashed.set),
        metrics or make_metrics(),
    )


def accepted(message_id: str | None) -> Attempted:
    """Return the response of a provider that accepted a submission at the first attempt."""
    answer = Accepted(message_id=message_id, sender_address=None, delivery_status=None, http_status=201)
    return Attempted(answer=answer, attempts=1)


def body_of(command_id: str, **changes: Any) -> bytes:
    """Return a command."""
    command = {"id": command_id, "destination_address": "+16131234567", "message": "hello", **changes}
    return json.dumps(command).encode()
