"""Rate limits: slots are granted evenly after a burst, in the order they were asked for, and kept while waited for."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.commands import CommandRules, SendSms, parse_command
from bridge.core.ledger import Call, Claim, File, Filing, Later, Slate
from bridge.core.ledger.limits import hold_back, reserve
from bridge.core.outcomes import Result, Style
from bridge.core.rules import LedgerRules, LimitRules

NOW = 1_800_000_000.0
STYLE = Style(source="/sms-bridge/sms")
A, B = "+16139998877", "+16139998878"


def slots(rules: LimitRules, senders: str, *, now: float = NOW, slate: Slate | None = None) -> list[float]:
    """Return the seconds from now until the slot of each, asked for at once by `A` and `B` in this order."""
    slate = slate or Slate()
    names = {"A": A, "B": B}
    return [max(0.0, _slot(slate, names[sender], rules, now) - now) for sender in senders]


def _slot(slate: Slate, sender: str, rules: LimitRules, now: float) -> float:
    """Return when a submission goes that comes back whenever it is told to."""
    slot = reserve(slate, sender, rules, now=now)
    while slot.at > now:
        now = slot.at
        slot = reserve(slate, sender, rules, now=now, granted=slot.granted)
    return slot.at


def test_without_a_limit_nobody_waits_and_nothing_is_kept() -> None:
    slate = Slate()

    assert slots(LimitRules(), "AABB", slate=slate) == [0, 0, 0, 0]
    assert slate.buckets == {}


def test_a_second_s_worth_goes_at_once_and_the_rest_evenly() -> None:
    waits = slots(LimitRules(account_per_second=4.0), "ABABABAB")

    assert waits == pytest.approx([0, 0, 0, 0, 0.25, 0.5, 0.75, 1.0])


def test_a_limit_below_one_a_second_has_no_burst() -> None:
    assert slots(LimitRules(account_per_second=0.5), "AAA") == pytest.approx([0, 2, 4])


def test_quiet_is_not_saved_up_beyond_the_burst() -> None:
    slate = Slate()
    rules = LimitRules(account_per_second=2.0)
    slots(rules, "A", slate=slate)

    assert slots(rules, "AAAA", now=NOW + 1e6, slate=slate) == pytest.approx([0, 0, 0.5, 1.0])


def test_each_sender_has_a_limit_of_its_own() -> None:
    assert slots(LimitRules(sender_per_second=1.0), "AAABAB") == pytest.approx([0, 1, 2, 0, 3, 1])


def test_both_limits_hold_the_slower_one_deciding() -> None:
    waits = slots(LimitRules(account_per_second=2.0, sender_per_second=1.0), "ABAB")

    assert waits == pytest.approx([0, 0, 1, 1])


def test_a_sender_that_waits_for_its_own_limit_takes_no_slot_of_the_account_from_another() -> None:
    slate = Slate()
    rules = LimitRules(account_per_second=10.0, sender_per_second=1.0)
    for _ in range(100):
        reserve(slate, A, rules, now=NOW)

    assert reserve(slate, B, rules, now=NOW).at == NOW


def test_what_the_provider_asked_for_holds_everybody_of_the_account_back() -> None:
    slate = Slate()
    hold_back(slate, NOW + 30)
    hold_back(slate, NOW + 10)

    assert slots(LimitRules(), "AB", slate=slate) == [30, 30]
    paced = LimitRules(account_per_second=1.0)
    assert slots(paced, "AB", slate=slate) == pytest.approx([30, 31])
    assert slots(LimitRules(), "A", now=NOW + 40, slate=slate) == [0]


@given(
    rate=st.floats(0.1, 50),
    gaps=st.lists(st.floats(0, 5), min_size=1, max_size=60),
)
def test_no_second_has_more_than_twice_its_share_and_no_slot_is_before_an_earlier_one(
    rate: float, gaps: list[float]
) -> None:
    slate, now, granted = Slate(), NOW, []
    for gap in gaps:
        now += gap
        granted.append(max(now, _slot(slate, A, LimitRules(account_per_second=rate), now)))

    assert granted == sorted(granted)
    for start in granted:
        within = sum(start <= at < start + 1.0 for at in granted)
        assert within <= 2 * max(rate, 1.0) + 1.5


# --- claims ----------------------------------------------------------------------------------------------------------


def command(number: int) -> SendSms:
    body = {
        "id": f"order-{number}",
        "destination_address": "+16131234567",
        "sender_address": A,
        "message": "hi",
    }
    parsed = parse_command(json.dumps(body).encode(), None, rules=CommandRules(), now=NOW)
    assert isinstance(parsed, SendSms)
    return parsed


def claim(slate: Slate, number: int, *, at: float = 0.0) -> object:
    rules = LedgerRules(limits=LimitRules(account_per_second=0.5))
    return Claim(
        command=command(number),
        index=0,
        owner=f"{number} at {at}",
        now=NOW + at,
        style=STYLE,
        rules=rules,
    ).apply(slate)


def throttle(slate: Slate, number: int, *, hold: float) -> None:
    """Have the provider answer the claim made at 0 that it is too fast."""
    filing = Filing(outcome=None, result=Result(attempts=1), retry_at=NOW + hold, hold_until=NOW + hold)
    assert File(
        command=command(number),
        command_id=f"order-{number}",
        index=0,
        owner=f"{number} at 0.0",
        filing=filing,
        now=NOW,
        style=STYLE,
    ).apply(slate)


def test_a_submission_waits_for_its_slot_keeps_it_and_counts_no_attempt() -> None:
    slate = Slate()

    assert isinstance(claim(slate, 1), Call)
    assert claim(slate, 2) == Later(at=NOW + 2, own=True, limited=True, generation=0)
    assert claim(slate, 2, at=1) == Later(at=NOW + 2, own=True, limited=True, generation=0)
    assert claim(slate, 3, at=1) == Later(at=NOW + 4, own=True, limited=True, generation=0)
    assert claim(slate, 2, at=2) == Call(attempts=0, first_attempt_at=NOW + 2, generation=0)
    assert claim(slate, 3, at=3.9) == Later(at=NOW + 4, own=True, limited=True, generation=0)


def test_after_a_429_nobody_goes_before_the_provider_allows_not_even_with_a_slot() -> None:
    slate = Slate()
    claim(slate, 1)
    claim(slate, 2)
    throttle(slate, 1, hold=30)
    held = claim(slate, 2, at=2)

    assert isinstance(held, Later)
    assert held.at >= NOW + 30
    assert claim(slate, 2, at=29.9) == held
    assert isinstance(claim(slate, 2, at=held.at - NOW), Call)
    assert isinstance(claim(slate, 3, at=29.9), Later)


def test_after_a_429_those_that_waited_are_paced_again() -> None:
    slate = Slate()
    claim(slate, 1)
    for number in (2, 3, 4):
        claim(slate, number)
    throttle(slate, 1, hold=30)
    held = [claim(slate, number, at=8) for number in (2, 3, 4)]

    assert all(isinstance(later, Later) for later in held)
    times = [later.at - NOW for later in held if isinstance(later, Later)]
    assert times == pytest.approx([30, 32, 34])


def test_slots_that_an_outage_kept_from_being_used_are_void_and_taken_anew() -> None:
    slate = Slate()
    waiting = range(2, 12)
    for number in (1, *waiting):
        claim(slate, number)
    late = [claim(slate, number, at=600) for number in waiting]
    times = [later.at - NOW for later in late[1:] if isinstance(later, Later)]

    assert isinstance(late[0], Call)
    assert times == pytest.approx([602 + 2 * number for number in range(9)])


def test_a_slot_may_be_used_as_late_as_copies_come() -> None:
    slate = Slate()
    for number in (1, 2, 3):
        claim(slate, number)

    assert isinstance(claim(slate, 2, at=2 + 2.5), Call)
    assert isinstance(claim(slate, 3, at=4 + 2.5), Call)
