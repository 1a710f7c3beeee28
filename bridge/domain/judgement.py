"""Judgement of a provider's answer: the decision after a call, as a value.

answer                          decision
Accepted                        sent, or undeliverable if the provider says so
Accepted without a message id   a history lookup for the id; never sent again
Refused                         rejected
Unsent                          another call at `retry_at`; failed if the attempt came after `retry.max_age`
Ambiguous                       a history lookup at `retry_at`
Blocked                         the submission as before, no attempt counted: the account is at fault, not the command
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from bridge.domain.answers import Accepted, Ambiguous, Blocked, Refused, Unsent
from bridge.domain.ledger.endings import NextStep
from bridge.domain.outcomes import EventFormat, Outcome, SubmissionResult, deferred_event
from bridge.domain.reconciliation import FIRST_LOOKUP, IMPOSSIBLE

if TYPE_CHECKING:
    from bridge.domain.answers import Answer, ProviderError
    from bridge.domain.commands import SendSms
    from bridge.domain.events import Event
    from bridge.domain.rules import RetryRules

#: Seconds for which the whole account is held back if the provider throttles without `Retry-After`.
THROTTLED = 1.0
#: Seconds for which the whole account is held back at most. A longer `Retry-After` applies only to the submission that
#: it answered; of the others, one a minute tests whether the provider still throttles.
LONGEST_HOLD = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The facts about a call from which the decision follows."""

    command: SendSms
    index: int
    answer: Answer
    #: Attempts in total, including those of this call.
    attempts: int
    #: Attempts before this call.
    attempts_before: int
    first_attempt_at: float
    now: float
    #: A draw from [0, 1) for the jitter.
    chance: float
    traceparent: str | None = None


def judge(call: Judgement, *, retry: RetryRules, style: EventFormat) -> NextStep:
    """Decide what follows an answer."""
    answer = call.answer
    match answer:
        case Accepted():
            return _accepted(call, answer)
        case Refused():
            return NextStep(outcome=Outcome.REJECTED, result=_failed(call, answer.error))
        case Ambiguous():
            return _look_up(call, _failed(call, answer.error), style)
        case Blocked():
            return NextStep(
                outcome=None, result=SubmissionResult(attempts=call.attempts_before), retry_at=call.now
            )
        case Unsent():
            return _unsent(call, answer, retry, style)
    assert_never(answer)


def _accepted(call: Judgement, answer: Accepted) -> NextStep:
    impossible = answer.delivery_status == IMPOSSIBLE
    result = SubmissionResult(
        attempts=call.attempts,
        message_id=answer.message_id,
        sender_address=answer.sender_address,
        delivery_status=answer.delivery_status,
    )
    if answer.message_id is None and not impossible and call.command.is_reconcilable(call.index):
        return NextStep(
            outcome=None, result=result, retry_at=call.now + FIRST_LOOKUP, in_doubt=True, submitted=True
        )
    return NextStep(outcome=Outcome.UNDELIVERABLE if impossible else Outcome.SENT, result=result)


def _look_up(call: Judgement, result: SubmissionResult, style: EventFormat) -> NextStep:
    retry_at = call.now + FIRST_LOOKUP
    return NextStep(
        outcome=None,
        result=result,
        retry_at=retry_at,
        in_doubt=True,
        deferred=_deferred(call, result, retry_at, style),
    )


def _unsent(call: Judgement, answer: Unsent, retry: RetryRules, style: EventFormat) -> NextStep:
    result = _failed(call, answer.error)
    if call.now - call.first_attempt_at >= retry.max_age:
        return NextStep(outcome=Outcome.FAILED, result=result)
    retry_at = call.now + _delay(call, answer.retry_after, retry)
    expires_at = call.command.expires_at
    if expires_at is not None:
        # The command ends as `expired` at its `expires_at`, not at some later retry.
        retry_at = min(retry_at, max(expires_at, call.now))
    return NextStep(
        outcome=None,
        result=result,
        retry_at=retry_at,
        deferred=_deferred(call, result, retry_at, style),
        hold_until=call.now + _hold(answer.retry_after) if answer.throttled else None,
    )


def _hold(retry_after: float | None) -> float:
    """Return the seconds for which the whole account is held back."""
    return min(retry_after or THROTTLED, LONGEST_HOLD)


def _delay(call: Judgement, retry_after: float | None, retry: RetryRules) -> float:
    """Return the seconds until the next attempt: exponential back-off with full jitter, at least `Retry-After`."""
    doublings = min(call.attempts, 32) - 1
    bound = min(retry.max_delay, retry.base * 2.0**doublings)
    return max(call.chance * bound, retry_after or 0.0)


def _deferred(call: Judgement, result: SubmissionResult, retry_at: float, style: EventFormat) -> Event:
    return deferred_event(
        call.command,
        call.index,
        result,
        retry_at=retry_at,
        style=style,
        now=call.now,
        traceparent=call.traceparent,
    )


def _failed(call: Judgement, error: ProviderError) -> SubmissionResult:
    return SubmissionResult(attempts=call.attempts, error=error)
