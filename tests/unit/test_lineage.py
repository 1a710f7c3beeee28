"""Lineage: the copy of a database that is the ledger, by its memory and the broker's ledger identity."""

from __future__ import annotations

import pytest

from bridge.domain.lineage import (
    MOST_UNSEEN,
    Lineage,
    Outdated,
    Recognized,
    Remembered,
    Succeeded,
    Unmarked,
    copies,
    judge,
    later_than,
)

SYSTEM, OTHER = 7713980091317042706, 7713980091317042707
FIRST, SECOND, FIFTH = (Lineage.of_postgresql(SYSTEM, timeline) for timeline in (1, 2, 5))
ELSEWHERE = Lineage.of_postgresql(OTHER, 1)


@pytest.mark.parametrize("system", [0, 1, SYSTEM, 2**64 - 1, -1])
def test_lineage_survives_a_round_trip_and_is_not_masked_in_a_log(system: int) -> None:
    lineage = Lineage.of_postgresql(system, 2**32 - 1)
    name, _, timeline = str(lineage).partition("-")

    assert Lineage.read(str(lineage)) == lineage
    assert name.isalpha()
    assert timeline == str(2**32 - 1)


@pytest.mark.parametrize(
    "text", ["", "abc", "abcdefghijklmnop", "abcdefghijklmnop-", "abcdefghijklmnoq-1", "None"]
)
def test_text_that_is_not_a_lineage_reads_as_none(text: str) -> None:
    assert Lineage.read(text) is None


MARKED = Remembered(FIRST, is_marked=True)
#: A worker without the permission has detected a restore elsewhere and left the old identity.
LEFT = Remembered(ELSEWHERE, is_marked=False, left=FIRST)


@pytest.mark.parametrize(
    ("own", "remembered", "is_marked", "is_before_marked", "comparison"),
    [
        (None, None, False, False, Recognized()),
        (None, MARKED, False, False, Recognized()),
        (FIRST, MARKED, True, False, Recognized()),
        # A copy without an identity before; another worker has written it and was killed before it noted that.
        (FIRST, Remembered(FIRST, is_marked=False), False, False, Unmarked()),
        (FIRST, Remembered(FIRST, is_marked=False), True, False, Unmarked()),
        (FIRST, MARKED, False, False, Outdated()),
        (SECOND, MARKED, False, True, Succeeded((FIRST,))),
        # A worker was killed in between.
        (SECOND, MARKED, True, True, Succeeded((FIRST,))),
        (SECOND, MARKED, True, False, Succeeded((FIRST,))),
        (
            FIFTH,
            MARKED,
            False,
            True,
            Succeeded(tuple(Lineage(FIRST.system, number) for number in range(1, 5))),
        ),
        (ELSEWHERE, Remembered(SECOND, is_marked=True), False, True, Succeeded((SECOND,))),
        (FIRST, Remembered(SECOND, is_marked=True), False, True, Succeeded((SECOND,))),
        (SECOND, Remembered(SECOND, is_marked=True), False, True, Outdated()),
        (SECOND, Remembered(SECOND, is_marked=False), False, False, Unmarked((FIRST,))),
        (SECOND, Remembered(ELSEWHERE, is_marked=True), False, True, Succeeded((ELSEWHERE, FIRST))),
        # Another copy of its lineage is in use.
        (SECOND, MARKED, False, False, Outdated()),
        (ELSEWHERE, MARKED, False, False, Outdated()),
        (ELSEWHERE, LEFT, False, True, Unmarked((FIRST,))),
        (ELSEWHERE, LEFT, False, False, Outdated()),
        (SECOND, LEFT, False, True, Succeeded((ELSEWHERE, FIRST))),
        (FIRST, Remembered(FIRST, is_marked=False, left=FIRST), True, False, Unmarked()),
        # Nothing was remembered while it was unreadable. Another worker has found that at the same time.
        (FIRST, None, True, False, Succeeded(())),
        (FIRST, None, False, False, Succeeded(())),
    ],
)
def test_state_of_a_copy_follows_from_its_lineage_and_the_ledger_identity(
    own: Lineage | None,
    remembered: Remembered | None,
    is_marked: bool,
    is_before_marked: bool,
    comparison: object,
) -> None:
    found = judge(own, remembered, is_marked=is_marked, is_known=True, is_before_marked=is_before_marked)
    assert found == comparison


@pytest.mark.parametrize(
    ("own", "remembered", "comparison"),
    [
        (None, None, Recognized()),
        (FIRST, None, Unmarked()),
        (FIRST, MARKED, Unmarked()),
        (FIRST, Remembered(FIRST, is_marked=False), Unmarked()),
        (SECOND, MARKED, Succeeded((FIRST,))),
    ],
)
def test_recreated_broker_has_no_ledger_identity(
    own: Lineage | None, remembered: Remembered | None, comparison: object
) -> None:
    assert judge(own, remembered, is_marked=False, is_known=False) == comparison


def test_primary_that_no_worker_met_is_outdated_once_a_later_one_is_used() -> None:
    remembered = Remembered(FIRST, is_marked=True)

    assert judge(SECOND, remembered, is_marked=False, is_known=True, is_later_marked=True) == Outdated()


def test_number_of_old_ledger_identities_is_bounded() -> None:
    comparison = judge(Lineage(FIRST.system, 1000), MARKED, is_marked=True, is_known=True)

    assert isinstance(comparison, Succeeded)
    assert comparison.before[0] == FIRST
    assert comparison.before[-1].timeline == 999
    assert len(comparison.before) == MOST_UNSEEN + 1
    assert [lineage.timeline for lineage in later_than(FIRST)][:2] == [2, 3]


def test_ledger_knows_which_copies_it_may_have() -> None:
    assert copies(None, None) == frozenset()
    assert copies(None, Remembered(SECOND, False, FIRST)) == {FIRST, SECOND}
    assert copies(FIRST, None) == {FIRST, *later_than(FIRST)}
    assert copies(FIFTH, Remembered(FIRST, is_marked=True)) == {
        *(Lineage(FIRST.system, timeline) for timeline in range(1, 6)),
        *later_than(FIFTH),
    }
    assert copies(ELSEWHERE, Remembered(SECOND, False, FIRST)) >= {ELSEWHERE, SECOND, FIRST}
