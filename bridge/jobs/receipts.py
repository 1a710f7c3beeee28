"""Receipt poller: asks the provider for the delivery status of sent messages and publishes it (SPEC section 3.2).

The order is the guarantee: **take, poll, publish, end.** A taken receipt is leased: no other worker polls it until the
lease expires. A receipt that is not ended by then is taken again. A crash before the end therefore publishes a second
event with the same id, and loses none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import structlog

from bridge.concurrency.background_worker import StoreWorker
from bridge.domain.ledger import SubmissionId
from bridge.domain.masks import show_id
from bridge.domain.outcomes import read_outcome
from bridge.domain.receipts import TYPES, next_ask, receipt_event
from bridge.ops import failpoints
from bridge.ports import LedgerUnavailable, PublisherFull

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.domain.events import Event
    from bridge.domain.messages import Outgoing
    from bridge.domain.outcomes import EventFormat
    from bridge.domain.receipts import PendingReceipt, SentSubmission
    from bridge.domain.rules import ReceiptRules
    from bridge.jobs.receipt_calls import StatusPolling
    from bridge.ports import Publisher, Receipts

#: Seconds between two reads of the due receipts.
POLL = 1.0
#: Seconds of a receipt's lease, and the part of them in which calls may run.
LEASE = 60.0
CALLS = 45.0
#: Receipts that are taken at once: the calls of so many seconds, up to the maximum.
AHEAD = 10.0
MOST = 100
#: Seconds until the next attempt after the ledger failed, and after an unexpected exception.
LEDGER_RETRY = 5.0
CRASH_RETRY = 60.0
#: Seconds to wait for the broker's confirms of a round, and the same while the process stops.
TIMEOUT = 10.0
LAST_TIMEOUT = 1.0

_log = structlog.get_logger()


def batch_of(per_second: float) -> int:
    """Return how many receipts to take at once for a number of calls per second; 0 is no limit."""
    return min(MOST, math.ceil(per_second * AHEAD)) if per_second else MOST


@dataclass(frozen=True, slots=True, kw_only=True)
class PollerRules:
    """The rules for polling and publishing receipts."""

    #: `bridge.domain.events.outgoing_event` with its names.
    to_message: Callable[[Event], Outgoing]
    receipts: ReceiptRules
    #: Number of receipts that are taken from the ledger at once.
    batch: int
    style: EventFormat


class ReceiptPoller(StoreWorker["Receipts"]):
    """Polls receipts, with a dedicated connection to the ledger. After a stop another worker polls the rest."""

    def __init__(
        self,
        open_receipts: Callable[[], Receipts],
        polling: StatusPolling,
        publisher: Publisher,
        rules: PollerRules,
    ) -> None:
        super().__init__("receipts", open_receipts, retry=CRASH_RETRY, stopping=polling.stopping)
        self._polling = polling
        self._publisher = publisher
        self._rules = rules
        self._clock = polling.clock
        self._metrics = polling.metrics
        #: Confirmed receipts: the submission, and the id of its published event.
        self._confirmed: SimpleQueue[tuple[SubmissionId, str]] = SimpleQueue()

    def run_once(self) -> float:
        """Poll some of the due receipts. Receipts that were taken before an exception are taken again."""
        try:
            return self.poll()
        except LedgerUnavailable as e:
            _log.warning("ledger.unavailable", reason=str(e), retry_in=LEDGER_RETRY)
            self.close()
            return LEDGER_RETRY

    def poll(self) -> float:
        """Poll some of the due receipts if the rate limit allows it; return the seconds until the next attempt.

        Raises:
            LedgerUnavailable: published receipts may not be recorded, and are published again.

        """
        if self._polling.wait > POLL:
            return self._polling.wait
        receipts = self.store
        self._end_confirmed(receipts)
        now = self._clock.now()
        due_at = receipts.due_at()
        self._metrics.receipts_late.set(0.0 if due_at is None else max(0.0, now - due_at))
        if due_at is None or due_at > now or not self._polling.allowed or not self._publisher.available:
            return POLL
        return self._round(receipts, receipts.take(now, now + LEASE, self._rules.batch))

    def _round(self, receipts: Receipts, taken: Sequence[PendingReceipt]) -> float:
        """Poll the taken receipts and publish the known ones; the others become due at their next poll, or at once."""
        left = {_submission_id(pending.sent) for pending in taken}
        over = {_submission_id(pending.sent) for pending in taken if pending.published}
        asks: dict[SubmissionId, float] = {}
        unconfirmed = 0
        until = self._clock.monotonic() + CALLS
        for pending, status in self._polling.answers(
            (one for one in taken if not one.published), until=until
        ):
            submission_id = _submission_id(pending.sent)
            if status is not None and status in TYPES:
                if not self._publish(pending.sent, status):
                    break
                unconfirmed += 1
            elif (again := next_ask(pending.sent_at, self._clock.now(), self._rules.receipts)) is not None:
                asks[submission_id] = again
            else:
                over.add(submission_id)
                self._metrics.receipts["given_up"].inc()
            left.discard(submission_id)
        left -= over
        now = self._clock.now()
        receipts.postpone(asks | dict.fromkeys(left, now))
        receipts.end(over, (), now)
        self._end_confirmed(receipts, unconfirmed)
        return POLL if left else 0.0

    def _publish(self, sent: SentSubmission, status: str) -> bool:
        """Publish a receipt; return whether the publisher accepts it."""
        event = receipt_event(sent, status, style=self._rules.style, now=self._clock.now())
        published = partial(self._confirmed.put, (_submission_id(sent), event.id))
        try:
            self._publisher.publish(self._rules.to_message(event), published)
        except PublisherFull:
            return False
        self._metrics.receipts[event.type.rpartition(".")[2]].inc()
        _log.info(
            "receipt.published",
            command_id=show_id(sent.command_id, partial(_numbers, sent)),
            index=sent.index,
            type=event.type,
            event_id=event.id,
        )
        return True

    def _end_confirmed(self, receipts: Receipts, number: int = 0) -> None:
        """Wait for `number` confirms up to a timeout, and end the confirmed ones; the next round ends the others."""
        confirmed: dict[SubmissionId, str] = {}
        started = self._clock.monotonic()
        while True:
            timeout = LAST_TIMEOUT if self._stopping.is_set() else TIMEOUT
            waiting = len(confirmed) < number and self._clock.monotonic() - started < timeout
            try:
                submission_id, event_id = (
                    self._confirmed.get(timeout=POLL) if waiting else self._confirmed.get_nowait()
                )
            except Empty:
                if not waiting:
                    break
            else:
                confirmed[submission_id] = event_id
        if confirmed:
            failpoints.reach("receipt-published")
            receipts.end(confirmed.keys(), confirmed.values(), self._clock.now())


def _submission_id(sent: SentSubmission) -> SubmissionId:
    return SubmissionId(command_id=sent.command_id, index=sent.index)


def _numbers(sent: SentSubmission) -> list[str]:
    data = read_outcome(sent.event)
    return [str(data["destination_address"]), str(data["sender_address"])]
