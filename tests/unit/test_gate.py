"""The gate: closed by trouble, opened a little at a time, whatever comes in which order."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.gate import DOWN, DOWN_AFTER, FIRST_PAUSE, LONGEST_DOWN, LONGEST_PAUSE, Gate

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 8
WHY = "the provider refuses the account: POL1009"


def down(now: float = 0.0) -> Gate:
    """Return a gate that so many failures closed at `now`."""
    return reduce(lambda gate, _: gate.failed(now), range(DOWN_AFTER), Gate.open(LIMIT))


def half_open(now: float = 1.0) -> Gate:
    return down().probing().probed(now, well=True)


def rooms(gate: Gate) -> int:
    """Return how many calls may run at once."""
    return next(number for number in range(LIMIT + 1) if not gate.room(number))


def test_an_open_gate_admits_as_many_calls_as_configured() -> None:
    gate = Gate.open(LIMIT)

    assert (rooms(gate), gate.shut, gate.trouble) == (LIMIT, False, None)
    assert not gate.probe_due(1e9)


def test_a_few_failures_in_a_row_are_nothing_and_a_success_forgets_them() -> None:
    gate = Gate.open(LIMIT)
    for _ in range(10):
        for _ in range(DOWN_AFTER - 1):
            gate = gate.failed(0.0)
        assert rooms(gate) == LIMIT
        gate = gate.succeeded()

    assert gate == Gate.open(LIMIT)


def test_so_many_failures_in_a_row_close_it_and_say_why() -> None:
    gate = down()

    assert (gate.shut, gate.room(0), gate.trouble) == (True, False, DOWN)


def test_a_refused_account_closes_it_at_once_and_says_why() -> None:
    gate = Gate.open(LIMIT).refused(0.0, WHY)

    assert (gate.shut, gate.room(0), gate.trouble) == (True, False, WHY)


@pytest.mark.parametrize(
    "late",
    [
        lambda gate: gate.failed(0.5),
        lambda gate: gate.refused(0.5, WHY),
        lambda gate: gate.succeeded(),
    ],
)
@pytest.mark.parametrize("closed", [down(), down().probing()])
def test_calls_that_were_under_way_when_it_closed_change_nothing(
    closed: Gate, late: Callable[[Gate], Gate]
) -> None:
    assert late(closed) == closed


def test_a_probe_is_due_when_the_pause_is_over_and_only_one_runs() -> None:
    gate = down(now=10.0)

    assert not gate.probe_due(10.0 + FIRST_PAUSE - 0.01)
    assert gate.probe_due(10.0 + FIRST_PAUSE)
    assert not gate.probing().probe_due(1e9)
    assert gate.probing().shut


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        (down(), [1, 2, 4, LONGEST_DOWN, LONGEST_DOWN, LONGEST_DOWN, LONGEST_DOWN, LONGEST_DOWN]),
        (Gate.open(8).refused(0.0, "suspended"), [1, 2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE]),
    ],
    ids=["down", "refused"],
)
def test_each_bad_probe_doubles_the_pause_as_far_as_its_cause_allows(
    gate: Gate, expected: list[float]
) -> None:
    now, pauses, trouble = 0.0, [], gate.trouble
    for _ in expected:
        pauses.append(gate.closed_until - now)
        now = gate.closed_until
        gate = gate.probing().probed(now, well=False)

    assert pauses == expected
    assert gate.trouble == trouble


def test_after_a_good_probe_one_call_is_admitted_and_each_success_doubles_that_until_it_is_open() -> None:
    gate, admitted = half_open(), []
    for _ in range(4):
        admitted.append(rooms(gate))
        gate = gate.succeeded()

    assert admitted == [1, 2, 4, 8]
    assert gate == Gate.open(LIMIT)


@pytest.mark.parametrize("limit", [1, 3, 7])
def test_it_never_admits_more_than_configured(limit: int) -> None:
    gate = Gate.open(limit).refused(0.0, WHY).probing().probed(1.0, well=True)
    for _ in range(5):
        gate = gate.succeeded()
        assert 1 <= gate.admitted <= limit

    assert gate == Gate.open(limit)


def test_while_half_open_one_failure_closes_it_for_longer() -> None:
    gate = half_open(now=1.0).succeeded().failed(now=5.0)

    assert gate.shut
    assert gate.closed_until == 5.0 + 2 * FIRST_PAUSE
    assert gate.trouble == DOWN


def test_while_half_open_the_trouble_is_still_told_and_gone_once_it_is_open() -> None:
    gate = Gate.open(2).refused(0.0, WHY).probing().probed(1.0, well=True)

    assert gate.trouble == WHY
    assert gate.succeeded().trouble is None


def test_once_open_again_the_next_trouble_begins_with_a_short_pause() -> None:
    gate = half_open()
    for _ in range(3):
        gate = gate.succeeded()

    assert gate.refused(50.0, WHY).closed_until == 50.0 + FIRST_PAUSE


@given(
    st.lists(st.sampled_from(["failed", "refused", "succeeded", "probe well", "probe unwell"]), max_size=60),
    st.integers(1, 16),
)
def test_whatever_happens_it_stays_within_its_bounds_and_can_always_open_again(
    events: list[str], limit: int
) -> None:
    gate, now = Gate.open(limit), 0.0
    for happened in events:
        now += 0.5
        match happened:
            case "failed":
                gate = gate.failed(now)
            case "refused":
                gate = gate.refused(now, WHY)
            case "succeeded":
                gate = gate.succeeded()
            case _ if gate.probe_due(now):
                gate = gate.probing().probed(now, well=happened == "probe well")
            case _:
                pass
        assert 0 <= gate.admitted <= limit
        assert gate.shut == (gate.admitted == 0)
        assert gate.shut <= (gate.trouble is not None)
        assert gate.closed_until <= now + LONGEST_PAUSE
    if gate.shut:
        gate = gate.probing().probed(now, well=True)
    for _ in range(6):
        gate = gate.succeeded()

    assert gate == Gate.open(limit)
