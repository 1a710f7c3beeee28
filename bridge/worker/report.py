"""Report of a worker: log lines and counters of each step, without whole phone numbers and texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from bridge.domain.answers import Ambiguous, Blocked, Refused, Unsent
from bridge.domain.commands import Malformed, SendSms
from bridge.domain.contracts.letters import EVENT_ID, OUTCOME
from bridge.domain.error_words import fields_of
from bridge.domain.events import DEAD, INVALID
from bridge.domain.masks import mask_number
from bridge.domain.outcomes import Outcome, read_error
from bridge.domain.shown_ids import shown_id
from bridge.ops.metrics import GIVEN_UP
from bridge.worker.flow_control import refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.domain.deliveries import Received
    from bridge.domain.ledger import RecordedResult
    from bridge.domain.messages import Outgoing
    from bridge.domain.submissions import Attempted
    from bridge.ops.metrics import Metrics
    from bridge.worker.actions import PublishOutcome, SendSubmission

#: The maximum number of names of properties, headers and fields in one log line, and the characters of each.
MOST_NAMES = 10
LONGEST_NAME = 100


class WorkerReport:
    """Writes log lines and counts metrics. Used on the loop's thread."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._log = structlog.get_logger()

    def parsed(self, received: Received) -> None:
        """Report what is unusual about a delivery."""
        delivery, parsed = received.delivery, received.parsed
        if delivery.given_up is not None:
            self._given_up(received, delivery.given_up)
        if delivery.unreadable:
            names = [name[:LONGEST_NAME] for name in delivery.unreadable[:MOST_NAMES]]
            self._log.warning("command.partly_unreadable", command_id=shown_id(parsed), names=names)
        if parsed.unknown_fields and not (received.delayed or delivery.redelivered):
            self._metrics.unknown_fields.inc()
            self._log.warning(
                "command.unknown_fields", command_id=shown_id(parsed), names=list(parsed.unknown_fields)
            )

    def _given_up(self, received: Received, reason: str) -> None:
        self._metrics.given_up[reason if reason in GIVEN_UP else "other"].inc()
        self._log.warning(
            "command.given_up",
            command_id=shown_id(received.parsed),
            reason=reason,
            hint="its AMQP expiration passed, or a broker policy or the delivery limit removed it from the queue",
        )

    def superseded(self, received: Received, index: int) -> None:
        """Report a delayed copy that has nothing left to do."""
        self._log.debug("command.superseded", command_id=shown_id(received.parsed), index=index)

    def _age(self, received: Received, now: float) -> None:
        """Observe the time that a command has waited for its first call."""
        parsed, published = received.parsed, received.published_at
        if isinstance(parsed, SendSms) and (published is not None or parsed.send_at is not None):
            due_at = max(published or 0.0, parsed.send_at or 0.0)
            self._metrics.age_seconds.observe(max(0.0, now - due_at))

    def answered(
        self, received: Received, action: SendSubmission, attempted: Attempted, seconds: float, now: float
    ) -> None:
        """Report the answer to the calls of a submission after `seconds`, and each failed attempt with its reason."""
        index, id_ = action.submission.index, shown_id(received.parsed)
        if not attempted.attempts:
            self._log.warning("call.missed", command_id=id_, index=index)
            return
        if action.attempts == 0:
            self._age(received, now - seconds)
        answer, repeated = attempted.answer, attempted.attempts - 1
        self._metrics.call_seconds.observe(seconds)
        self._metrics.attempts[type(answer).__name__.lower()].inc()
        if repeated:
            # The gateway repeats only calls that certainly submitted nothing.
            self._metrics.attempts["unsent"].inc(repeated)
            self._metrics.retries["immediate"].inc(repeated)
        failures: list[Refused | Unsent | Ambiguous] = [Unsent(error=error) for error in attempted.repeated]
        if isinstance(answer, Refused | Unsent | Ambiguous):
            failures.append(answer)
        for number, failure in enumerate(failures, action.attempts + 1):
            log = self._log.warning if isinstance(failure, Ambiguous) else self._log.info
            log(
                "attempt.failed",
                command_id=id_,
                index=index,
                attempt=number,
                answer=type(failure).__name__.lower(),
                **fields_of(failure.error),
            )
        if isinstance(answer, Blocked):
            self._log.warning("call.blocked", command_id=id_, index=index, reason=refusal(answer.error))

    def recorded(self, received: Received, index: int, recorded: RecordedResult | None) -> None:
        """Report a claim that another worker has taken over, or a lookup result."""
        if recorded is None:
            # The ledger keeps the provider's answer as evidence.
            self._log.error("claim.lost", command_id=shown_id(received.parsed), index=index)
            self._metrics.claims_lost.inc()
        elif recorded.lookup_result is not None:
            self._metrics.lookups[recorded.lookup_result].inc()

    def outcome(self, received: Received, published: PublishOutcome, messages: Iterable[Outgoing]) -> None:
        """Report an outcome, and count its dead letter."""
        self._dead_letters(messages)
        outcome, stored_event, parsed = published.outcome, published.stored_event, received.parsed
        assert isinstance(parsed, SendSms)  # noqa: S101 - only commands have outcomes
        destination = parsed.destinations[published.index].wire
        if published.fresh:
            self._metrics.outcomes[outcome.event_type].inc()
        # A dead letter needs an operator.
        is_dead = published.fresh and outcome.event_type in DEAD
        log = self._log.warning if is_dead else self._log.info
        error = None if outcome is Outcome.SENT else read_error(stored_event.body)
        log(
            "submission.ended" if published.fresh else "submission.republished",
            command_id=shown_id(received.parsed),
            index=published.index,
            outcome=outcome.value,
            event_id=stored_event.event_id,
            destination=mask_number(destination),
            **({} if error is None else fields_of(error)),
        )

    def invalid(self, received: Received, messages: Iterable[Outgoing]) -> None:
        """Report a delivery that is not a valid command, or has the id of another, and count its dead letter."""
        self._dead_letters(messages)
        parsed = received.parsed
        self._metrics.outcomes[INVALID].inc()
        reasons = parsed.reasons if isinstance(parsed, Malformed) else ("conflict",)
        self._log.warning("command.invalid", command_id=shown_id(parsed), reasons=reasons)

    def deferred(self) -> None:
        """Count a submission that is retried later."""
        self._metrics.retries["delayed"].inc()

    def returned(self, received: Received) -> None:
        """Report a dead letter that goes back to its queue: its outcome is published already."""
        self._metrics.returned.inc()
        self._log.warning(
            "dead_letter.returned",
            command_id=shown_id(received.parsed),
            event_id=received.delivery.headers.get(EVENT_ID),
            hint="it was moved to the command queue, by a shovel or by hand; `bridge dead replay` sends it again",
        )

    def _dead_letters(self, messages: Iterable[Outgoing]) -> None:
        for message in messages:
            if (outcome := message.headers.get(OUTCOME)) is not None:
                self._metrics.dead_letters[f"sms.outbound.{outcome}"].inc()
