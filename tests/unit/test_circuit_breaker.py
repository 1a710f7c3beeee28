"""The circuit breaker: it opens on failures and closes gradually, for any order of events."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.circuit_breaker import (
    DOWN,
    DOWN_AFTER,
    FIRST_BACKOFF,
    LONGEST_DOWN,
    MAX_BACKOFF,
    CircuitBreaker,
)

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 8
WHY = "the provider refuses the account: POL1009"


def down(now: float = 0.0) -> CircuitBreaker:
    """Return a circuit breaker that failures opened at `now`."""
    return reduce(lambda breaker, _: breaker.failed(now), range(DOWN_AFTER), CircuitBreaker.closed(LIMIT))


def half_open(now: float = 1.0) -> CircuitBreaker:
    return down().probing().probed(now, well=True)


def capacities(breaker: CircuitBreaker) -> int:
    """Return the number of calls that may run at once."""
    return next(number for number in range(LIMIT + 1) if not breaker.has_capacity(number))


def test_closed_breaker_admits_as_many_calls_as_configured() -> None:
    breaker = CircuitBreaker.closed(LIMIT)

    assert (capacities(breaker), breaker.is_open, breaker.problem) == (LIMIT, False, None)
    assert not breaker.probe_due(1e9)


def test_breaker_stays_closed_after_few_failures_and_a_success_resets_their_count() -> None:
    breaker = CircuitBreaker.closed(LIMIT)
    for _ in range(10):
        for _ in range(DOWN_AFTER - 1):
            breaker = breaker.failed(0.0)
        assert capacities(breaker) == LIMIT
        breaker = breaker.succeeded()

    assert breaker == CircuitBreaker.closed(LIMIT)


def test_breaker_opens_with_a_reason_after_consecutive_failures() -> None:
    breaker = down()

    assert (breaker.is_open, breaker.has_capacity(0), breaker.problem) == (True, False, DOWN)


def test_breaker_opens_at_once_with_a_reason_when_the_account_is_refused() -> None:
    breaker = CircuitBreaker.closed(LIMIT).refused(0.0, WHY)

    assert (breaker.is_open, breaker.has_capacity(0), breaker.problem) == (True, False, WHY)


@pytest.mark.parametrize(
    "late",
    [
        lambda breaker: breaker.failed(0.5),
        lambda breaker: breaker.refused(0.5, WHY),
        lambda breaker: breaker.succeeded(),
    ],
)
@pytest.mark.parametrize("closed", [down(), down().probing()])
def test_results_of_calls_in_flight_when_the_breaker_opened_are_ignored(
    closed: CircuitBreaker, late: Callable[[CircuitBreaker], CircuitBreaker]
) -> None:
    assert late(closed) == closed


def test_single_probe_is_due_when_the_pause_is_over() -> None:
    breaker = down(now=10.0)

    assert not breaker.probe_due(10.0 + FIRST_BACKOFF - 0.01)
    assert breaker.probe_due(10.0 + FIRST_BACKOFF)
    assert not breaker.probing().probe_due(1e9)
    assert breaker.probing().is_open


@pytest.mark.parametrize(
    ("breaker", "expected"),
    [
        (down(), [1, 2, 4, LONGEST_DOWN, LONGEST_DOWN, LONGEST_DOWN, LONGEST_DOWN, LONGEST_DOWN]),
        (CircuitBreaker.closed(8).refused(0.0, "suspended"), [1, 2, 4, 8, 16, 32, MAX_BACKOFF, MAX_BACKOFF]),
    ],
    ids=["down", "refused"],
)
def test_failed_probe_doubles_the_pause_up_to_the_limit_for_its_cause(
    breaker: CircuitBreaker, expected: list[float]
) -> None:
    now, pauses, problem = 0.0, [], breaker.problem
    for _ in expected:
        pauses.append(breaker.open_until - now)
        now = breaker.open_until
        breaker = breaker.probing().probed(now, well=False)

    assert pauses == expected
    assert breaker.problem == problem


def test_successful_probe_admits_one_call_and_each_success_doubles_that_until_closed() -> None:
    breaker, allowed = half_open(), []
    for _ in range(4):
        allowed.append(capacities(breaker))
        breaker = breaker.succeeded()

    assert allowed == [1, 2, 4, 8]
    assert breaker == CircuitBreaker.closed(LIMIT)


@pytest.mark.parametrize("limit", [1, 3, 7])
def test_breaker_never_admits_more_calls_than_configured(limit: int) -> None:
    breaker = CircuitBreaker.closed(limit).refused(0.0, WHY).probing().probed(1.0, well=True)
    for _ in range(5):
        breaker = breaker.succeeded()
        assert 1 <= breaker.allowed <= limit

    assert breaker == CircuitBreaker.closed(limit)


def test_failure_while_half_open_opens_the_breaker_for_longer() -> None:
    breaker = half_open(now=1.0).succeeded().failed(now=5.0)

    assert breaker.is_open
    assert breaker.open_until == 5.0 + 2 * FIRST_BACKOFF
    assert breaker.problem == DOWN


def test_reason_is_reported_while_half_open_and_cleared_once_closed() -> None:
    breaker = CircuitBreaker.closed(2).refused(0.0, WHY).probing().probed(1.0, well=True)

    assert breaker.problem == WHY
    assert breaker.succeeded().problem is None


def test_first_pause_is_short_again_after_the_breaker_closed() -> None:
    breaker = half_open()
    for _ in range(3):
        breaker = breaker.succeeded()

    assert breaker.refused(50.0, WHY).open_until == 50.0 + FIRST_BACKOFF


@given(
    st.lists(st.sampled_from(["failed", "refused", "succeeded", "probe well", "probe unwell"]), max_size=60),
    st.integers(1, 16),
)
def test_breaker_stays_within_its_bounds_and_can_always_close_again(events: list[str], limit: int) -> None:
    breaker, now = CircuitBreaker.closed(limit), 0.0
    for happened in events:
        now += 0.5
        match happened:
            case "failed":
                breaker = breaker.failed(now)
            case "refused":
                breaker = breaker.refused(now, WHY)
            case "succeeded":
                breaker = breaker.succeeded()
            case _ if breaker.probe_due(now):
                breaker = breaker.probing().probed(now, well=happened == "probe well")
            case _:
                pass
        assert 0 <= breaker.allowed <= limit
        assert breaker.is_open == (breaker.allowed == 0)
        assert breaker.is_open <= (breaker.problem is not None)
        assert breaker.open_until <= now + MAX_BACKOFF
    if breaker.is_open:
        breaker = breaker.probing().probed(now, well=True)
    for _ in range(6):
        breaker = breaker.succeeded()

    assert breaker == CircuitBreaker.closed(limit)
