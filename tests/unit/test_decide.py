"""Decisions for each response of the provider."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.answers import Accepted, Ambiguous, Answer, Blocked, ProviderError, Refused, Unsent
from bridge.domain.judgement import THROTTLED, Judgement, judge
from bridge.domain.outcomes import EventFormat, Outcome
from bridge.domain.reconciliation import FIRST_LOOKUP
from bridge.domain.rules import RetryRules
from tests.harness.commands import NOW, read_command
from tests.harness.contract_check import event_of

if TYPE_CHECKING:
    from bridge.domain.commands import SendSms

STYLE = EventFormat(source="/sms-bridge/sms")
ERROR = ProviderError(name="serviceException", exception_id="SVC0002", message="bad", http_status=400)
ACCEPTED = Accepted(
    message_id="m-1", sender_address="+16139998877", delivery_status="DeliveredToNetwork", http_status=201
)


def command(expires_at: float | None = None, *, to: str = "+16131234567") -> SendSms:
    return read_command({"destination_address": to}, expires_at=expires_at)


def judgement(answer: Answer, *, expires_at: float | None = None, age: float = 0.0) -> Judgement:
    return Judgement(
        command=command(expires_at),
        index=0,
        answer=answer,
        attempts=3,
        attempts_before=2,
        first_attempt_at=NOW - age,
        now=NOW,
        chance=0.5,
    )


@pytest.mark.parametrize(
    ("answer", "age", "outcome"),
    [
        (replace(ACCEPTED, delivery_status="NobodyKnowsThisWord"), 0.0, Outcome.SENT),
        (replace(ACCEPTED, delivery_status=None, message_id=None), 0.0, None),
        (
            replace(ACCEPTED, delivery_status="DeliveryImpossible", message_id=None),
            0.0,
            Outcome.UNDELIVERABLE,
        ),
        (replace(ACCEPTED, delivery_status="deliveryimpossible"), 0.0, Outcome.SENT),
        (replace(ACCEPTED, delivery_status="DeliveryImpossible"), 0.0, Outcome.UNDELIVERABLE),
        (ACCEPTED, 1e9, Outcome.SENT),
        (Refused(error=ERROR), 0.0, Outcome.REJECTED),
        (Ambiguous(error=ERROR), 0.0, None),
        (Ambiguous(error=ERROR), 1e9, None),
        (Unsent(error=ERROR), 86_399.0, None),
        (Unsent(error=ERROR), 86_400.0, Outcome.FAILED),
        (Unsent(error=ERROR, retry_after=5.0), 86_401.0, Outcome.FAILED),
        (Blocked(error=ERROR), 1e9, None),
    ],
)
def test_each_response_has_one_consequence(answer: Answer, age: float, outcome: Outcome | None) -> None:
    next_step = judge(judgement(answer, age=age), retry=RetryRules(), style=STYLE)

    assert next_step.outcome is outcome
    assert (next_step.retry_at is None) == (outcome is not None)
    assert outcome is None or (next_step.deferred, next_step.in_doubt) == (None, False)


def test_accepted_submission_keeps_the_response_of_the_provider() -> None:
    result = judge(judgement(ACCEPTED), retry=RetryRules(), style=STYLE).result

    assert (result.message_id, result.sender_address) == ("m-1", "+16139998877")
    assert (result.delivery_status, result.attempts) == ("DeliveredToNetwork", 3)
    assert result.error is None


@pytest.mark.parametrize("age", [0.0, 1e9])
def test_accepted_submission_without_a_message_id_is_looked_up(age: float) -> None:
    next_step = judge(judgement(replace(ACCEPTED, message_id=None), age=age), retry=RetryRules(), style=STYLE)

    assert (next_step.outcome, next_step.in_doubt, next_step.submitted) == (None, True, True)
    assert next_step.retry_at == NOW + FIRST_LOOKUP
    assert (next_step.result.attempts, next_step.deferred) == (3, None)


def test_accepted_submission_that_can_not_be_looked_up_is_sent_without_an_id() -> None:
    national = replace(judgement(replace(ACCEPTED, message_id=None)), command=command(to="6131234567"))
    next_step = judge(national, retry=RetryRules(), style=STYLE)

    assert (next_step.outcome, next_step.result.message_id) == (Outcome.SENT, None)


@pytest.mark.parametrize("age", [0.0, 1e9])
def test_ambiguous_attempt_of_any_age_is_in_doubt_and_looked_up(age: float) -> None:
    next_step = judge(judgement(Ambiguous(error=ERROR), age=age), retry=RetryRules(), style=STYLE)

    assert (next_step.in_doubt, next_step.submitted, next_step.retry_at) == (True, False, NOW + FIRST_LOOKUP)


def test_refusal_keeps_the_error_and_every_attempt() -> None:
    result = judge(judgement(Refused(error=ERROR)), retry=RetryRules(), style=STYLE).result

    assert (result.error, result.attempts) == (ERROR, 3)


@pytest.mark.parametrize("answer", [Ambiguous(error=ERROR), Unsent(error=ERROR)])
def test_delayed_event_has_the_error_and_every_attempt(answer: Answer) -> None:
    next_step = judge(judgement(answer), retry=RetryRules(), style=STYLE)

    assert next_step.deferred is not None
    assert next_step.deferred.type == "sms.outbound.deferred"
    data = event_of(next_step.deferred.body)["data"]
    assert data["error"]["exception_id"] == "SVC0002"
    assert data["attempts"] == 3


@pytest.mark.parametrize(("retry_after", "pause"), [(30.0, 30.0), (None, THROTTLED)])
def test_throttled_account_pauses_for_the_retry_after_of_the_provider(
    retry_after: float | None, pause: float
) -> None:
    answer = Unsent(error=ERROR, retry_after=retry_after, throttled=True)

    assert judge(judgement(answer), retry=RetryRules(), style=STYLE).hold_until == NOW + pause


def test_unsent_response_without_throttling_delays_no_other_submission() -> None:
    answer = Unsent(error=ERROR, retry_after=30.0)

    assert judge(judgement(answer), retry=RetryRules(), style=STYLE).hold_until is None


def test_blocked_account_costs_no_attempt_and_publishes_nothing() -> None:
    next_step = judge(judgement(Blocked(error=ERROR)), retry=RetryRules(), style=STYLE)

    assert (next_step.outcome, next_step.deferred, next_step.in_doubt) == (None, None, False)
    assert next_step.result.attempts == 2
    assert next_step.retry_at == NOW


def test_unsent_attempt_is_published_as_deferred_with_the_time_of_the_next_lookup() -> None:
    next_step = judge(judgement(Unsent(error=ERROR, retry_after=30.0)), retry=RetryRules(), style=STYLE)

    assert next_step.retry_at == NOW + 30
    assert next_step.deferred is not None
    assert next_step.deferred.type == "sms.outbound.deferred"
    assert event_of(next_step.deferred.body)["data"]["retry_at"] == "2027-01-15T08:00:30.000Z"


def test_next_lookup_is_no_later_than_the_expiry() -> None:
    answer = Unsent(error=ERROR, retry_after=600.0)

    assert judge(judgement(answer, expires_at=NOW + 60), retry=RetryRules(), style=STYLE).retry_at == NOW + 60
    assert judge(judgement(answer, expires_at=NOW - 60), retry=RetryRules(), style=STYLE).retry_at == NOW


@pytest.mark.parametrize(
    ("attempts", "bound"), [(1, 0.5), (2, 1.0), (3, 2.0), (11, 512.0), (12, 900.0), (10**6, 900.0)]
)
def test_first_delay_has_the_bound_that_is_configured_and_each_attempt_doubles_it(
    attempts: int, bound: float
) -> None:
    call = replace(judgement(Unsent(error=ERROR)), attempts=attempts, chance=0.999)
    retry_at = judge(call, retry=RetryRules(base=0.5, max_delay=900.0), style=STYLE).retry_at

    assert retry_at is not None
    # As a difference: approx would accept any two times of the epoch.
    assert retry_at - NOW == pytest.approx(0.999 * bound, abs=0.001)


@given(
    attempts=st.integers(1, 10**6),
    chance=st.floats(0, 1, exclude_max=True),
    retry_after=st.none() | st.floats(0, 86_400),
)
def test_delay_is_bounded_and_at_least_the_retry_after_of_the_provider(
    attempts: int, chance: float, retry_after: float | None
) -> None:
    call = replace(judgement(Unsent(error=ERROR, retry_after=retry_after)), attempts=attempts, chance=chance)

    retry_at = judge(call, retry=RetryRules(max_delay=900.0), style=STYLE).retry_at

    assert retry_at is not None
    assert NOW + (retry_after or 0) <= retry_at <= NOW + max(900.0, retry_after or 0)
