"""Flow control: the reason that it reports while it admits no call."""

from __future__ import annotations

import pytest

from bridge.adapters.clock import SystemClock
from bridge.domain.answers import Ambiguous, Answer, Blocked, ProviderError, Unsent
from bridge.domain.circuit_breaker import DOWN, DOWN_AFTER
from bridge.worker.flow_control import FlowControl
from tests.fakes.publisher import FakePublisher

REFUSED = ProviderError(name="network", message="connection refused")
#: In the provider's text, which may contain numbers.
OVERLOADED = ProviderError(name="http", message="no route to +16131234567", http_status=502)


def problem_after(answer: Answer) -> str | None:
    """Return the reason after enough of these responses."""
    flow_control = FlowControl(None, FakePublisher(), SystemClock(), limit=1)  # type: ignore[arg-type]  # no call is made
    for _ in range(DOWN_AFTER):
        flow_control.answered(answer)
    return flow_control.problem


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Unsent(error=REFUSED), f"{DOWN}: connection refused"),
        (Ambiguous(error=OVERLOADED), f"{DOWN}: HTTP 502 Bad Gateway"),
        (
            Unsent(error=ProviderError(name="oauth", message="the answer")),
            f"{DOWN}: oauth: the provider refused the credentials",
        ),
        (
            Unsent(
                error=ProviderError(name="http", message="Proxy Authentication Required", http_status=407)
            ),
            f"{DOWN}: HTTP 407 Proxy Authentication Required, without the provider's own error: it comes from a proxy "
            "or a gateway",
        ),
    ],
)
def test_failing_provider_is_reported_with_its_error(answer: Answer, problem: str) -> None:
    assert problem_after(answer) == problem


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (
            ProviderError(name="oauth", exception_id="invalid_grant", http_status=401),
            "the provider refuses the credentials in [cpaas]: invalid_grant: "
            "wrong user name or password, or an expired grant",
        ),
        (
            ProviderError(name="http", http_status=302),
            "the provider redirects, check cpaas.base_url: HTTP 302 Found",
        ),
        (
            ProviderError(name="policyException", exception_id="POL1010", http_status=403),
            "the provider refuses the account: POL1010: the account is suspended from this service",
        ),
    ],
)
def test_refused_account_is_reported_with_a_hint(error: ProviderError, problem: str) -> None:
    assert problem_after(Blocked(error=error)) == problem


@pytest.mark.parametrize(
    "error",
    [ProviderError(name="http", http_status=409), ProviderError(name="internal", message="broke down")],
)
def test_error_of_one_submission_is_not_a_failure_of_the_provider(error: ProviderError) -> None:
    assert problem_after(Ambiguous(error=error)) is None


def test_rate_limiting_provider_does_not_count_as_failing() -> None:
    assert problem_after(Unsent(error=OVERLOADED, throttled=True)) is None
