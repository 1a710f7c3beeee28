"""Learns from the provider what became of what was sent, and tells it (SPEC section 3.2).

The order is the guarantee: **take, ask, tell, end.** What one worker takes no other asks for, for a while; what it has
not ended by then is taken again. So a crash before the end costs a second event with the same id, and none is lost.
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

#: Seconds between two looks at what is due.
POLL = 1.0
#: Seconds for which what is taken is nobody else's, and those of them in which calls may run.
LEASE = 60.0
CALLS = 45.0
#: How much is taken at once: so many seconds' worth of calls, and never more than this.
AHEAD = 10.0
MOST = 100
#: Seconds until the ledger is tried again after it failed, and until anything is after a mistake of ours.
LEDGER_RETRY = 5.0
CRASH_RETRY = 60.0
#: Seconds that the broker may take to confirm what a round has told, and the same for a process on its way out.
TIMEOUT = 10.0
LAST_TIMEOUT = 1.0

_log = structlog.get_logger()


def batch_of(per_second: float) -> int:
    """Return how many receipts to take at once, at so many calls a second; 0 is any number."""
    return min(MOST, math.ceil(per_second * AHEAD)) if per_second else MOST


@dataclass(frozen=True, slots=True, kw_only=True)
class PollerRules:
    """The rules by which receipts are asked for and published."""

    #: `bridge.domain.events.outgoing_event` with its names.
    to_message: Callable[[Event], Outgoing]
    receipts: ReceiptRules
    #: How many are taken from the ledger at once.
    batch: int
    style: EventFormat


class ReceiptPoller(StoreWorker["Receipts"]):
    """Has a connection to the ledger of its own. What is not told at a stop another worker asks for."""

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
        #: What the broker has confirmed: whose receipt, told by which event.
        self._confirmed: SimpleQueue[tuple[SubmissionId, str]] = SimpleQueue()

    def run_once(self) -> float:
        """Ask for some of what is due; what was taken before a mistake of ours is taken again."""
        try:
            return self.poll()
        except LedgerUnavailable as e:
            _log.warning("ledger.unavailable", reason=str(e), retry_in=LEDGER_RETRY)
            self.close()
            return LEDGER_RETRY

    def poll(self) -> float:
        """Ask for some of what is due, if it is time to; return the seconds until there may be more.

        Raises:
            LedgerUnavailable: what was told may not be noted, and is told again.

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
        """Ask for what was taken and tell what is known of it; the rest is due again when it says, or at once."""
        left = {_submission_id(pending.sent) for pending in taken}
        over = {_submission_id(pending.sent) for pending in taken if pending.published}
        asks: dict[SubmissionId, float] = {}
        untold = 0
        until = self._clock.monotonic() + CALLS
        for pending, status in self._polling.answers(
            (one for one in taken if not one.published), until=until
        ):
            submission_id = _submission_id(pending.sent)
            if status is not None and status in TYPES:
                if not self._publish(pending.sent, status):
                    break
                untold += 1
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
        self._end_confirmed(receipts, untold)
        return POLL if left else 0.0

    def _publish(self, sent: SentSubmission, status: str) -> bool:
        """Have a receipt told; return whether the publisher takes it."""
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
        """Wait for `number` confirms, not for ever, and end what is confirmed; what comes later is ended later."""
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
