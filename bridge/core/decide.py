"""What an answer makes of a submission: the decision after the call, as a value.

answer                          what follows
Accepted                        sent, or undeliverable where the provider says so
Refused                         rejected
Unsent                          another look at `retry_at`; failed once the attempt came after `retry.max_age`
Ambiguous                       unknown: it may have been sent, so it is never sent again unseen
Blocked                         back as it was, no attempt counted: the account is at fault, not the command
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from bridge.core.answers import Accepted, Ambiguous, Blocked, ProviderError, Refused, Unsent
from bridge.core.ledger import Filing
from bridge.core.outcomes import Outcome, Result, Style, deferred_event, outcome_event

if TYPE_CHECKING:
    from bridge.core.answers import Answer
    from bridge.core.commands import SendSms

#: The provider's word for a message that will never arrive (wire reference 4.1).
IMPOSSIBLE = "DeliveryImpossible"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRules:
    """What configuration decides about retries. All in seconds."""

    max_age: float = 86400.0
    #: The first delay's bound; each further attempt doubles it.
    base: float = 0.5
    max_delay: float = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Everything about a call that the decision rests on."""

    command: SendSms
    index: int
    answer: Answer
    #: Attempts in all, this call's included.
    attempts: int
    #: Attempts before this call.
    attempts_before: int
    first_attempt_at: float
    now: float
    #: A draw from [0, 1) for the jitter.
    chance: float
    traceparent: str | None = None


def judge(call: Judgement, *, retry: RetryRules, style: Style) -> Filing:
    """Decide what follows an answer."""
    answer = call.answer
    match answer:
        case Accepted():
            impossible = answer.delivery_status == IMPOSSIBLE
            outcome = Outcome.UNDELIVERABLE if impossible else Outcome.SENT
            return _end(call, outcome, _accepted(call, answer), style)
        case Refused():
            return _end(call, Outcome.REJECTED, _failed(call, answer.error), style)
        case Ambiguous():
            return _end(call, Outcome.UNKNOWN, _failed(call, answer.error), style)
        case Blocked():
            return Filing(
                outcome=None, event=None, result=Result(attempts=call.attempts_before), retry_at=call.now
            )
        case Unsent():
            return _unsent(call, answer, retry, style)
    assert_never(answer)


def _unsent(call: Judgement, answer: Unsent, retry: RetryRules, style: Style) -> Filing:
    result = _failed(call, answer.error)
    if call.now - call.first_attempt_at >= retry.max_age:
        return _end(call, Outcome.FAILED, result, style)
    retry_at = call.now + _delay(call, answer.retry_after, retry)
    expires_at = call.command.expires_at
    if expires_at is not None:
        # Whoever waits for it learns that it has expired when it does, not at some later retry.
        retry_at = min(retry_at, max(expires_at, call.now))
    event = deferred_event(
        call.command,
        call.index,
        result,
        retry_at=retry_at,
        style=style,
        now=call.now,
        traceparent=call.traceparent,
    )
    return Filing(outcome=None, event=event, result=result, retry_at=retry_at)


def _delay(call: Judgement, retry_after: float | None, retry: RetryRules) -> float:
    """Return seconds until the next look: exponential with full jitter, no sooner than the provider asked."""
    doublings = min(call.attempts, 32)
    bound = min(retry.max_delay, retry.base * 2.0**doublings)
    return max(call.chance * bound, retry_after or 0.0)


def _end(call: Judgement, outcome: Outcome, result: Result, style: Style) -> Filing:
    event = outcome_event(
        outcome, call.command, call.index, result, style=style, now=call.now, traceparent=call.traceparent
    )
    return Filing(outcome=outcome, event=event, result=result)


def _accepted(call: Judgement, answer: Accepted) -> Result:
    return Result(
        attempts=call.attempts,
        message_id=answer.message_id,
        sender_address=answer.sender_address,
        delivery_status=answer.delivery_status,
        error=None
        if answer.message_id
        else ProviderError(
            name="http", message="the provider named no message id", http_status=answer.http_status
        ),
    )


def _failed(call: Judgement, error: ProviderError) -> Result:
    return Result(attempts=call.attempts, error=error)
