"""Rate limits with GCRA: reservations are even after a burst, in the order of requests, and kept during the wait.

Submissions that are late after an outage or a long queue also go at the rate, and keep their position.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from itertools import accumulate
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.ledger import (
    Call,
    Claim,
    HasOutcome,
    NewVersion,
    NextStep,
    NotBefore,
    RecordAnswer,
    UnitOfWork,
    limits,
)
from bridge.domain.ledger.claim import SHORT_WAIT
from bridge.domain.ledger.limits import ACCOUNT, LAPSE, NO_RESERVATION, Reservation, hold_back
from bridge.domain.outcomes import EventFormat, Outcome, SubmissionResult
from bridge.domain.rules import LedgerRules, LimitRules
from tests.harness.commands import NOW, read_command

if TYPE_CHECKING:
    from bridge.domain.commands import SendSms

STYLE = EventFormat(source="/sms-bridge/sms")
A, B = "+16139998877", "+16139998878"


def reserve(
    unit: UnitOfWork, sender: str, rules: LimitRules, *, now: float, held: Reservation = NO_RESERVATION
) -> Reservation:
    """Reserve within the sender's and the account's limit, as a claim does."""
    under = {f"sender:{sender}": rules.sender_per_second, ACCOUNT: rules.account_per_second}
    return limits.reserve(unit, under, now=now, held=held)


def slots(
    rules: LimitRules, senders: str, *, now: float = NOW, unit: UnitOfWork | None = None
) -> list[float]:
    """Return the seconds until each reservation of `A` and `B`, requested at once in this order."""
    unit = unit or UnitOfWork()
    names = {"A": A, "B": B}
    return [max(0.0, _reservation(unit, names[sender], rules, now) - now) for sender in senders]


def _reservation(unit: UnitOfWork, sender: str, rules: LimitRules, now: float) -> float:
    """Return the send time of a submission that returns at each given time."""
    reservation = reserve(unit, sender, rules, now=now)
    while reservation.at > now:
        now = reservation.at
        reservation = reserve(unit, sender, rules, now=now, held=reservation)
    return reservation.at


def test_no_submission_waits_and_nothing_is_stored_without_a_limit() -> None:
    unit = UnitOfWork()

    assert slots(LimitRules(), "AABB", unit=unit) == [0, 0, 0, 0]
    assert unit.buckets == {}


def test_one_second_of_the_rate_goes_at_once_and_the_rest_evenly() -> None:
    waits = slots(LimitRules(account_per_second=4.0), "ABABABAB")

    assert waits == pytest.approx([0, 0, 0, 0, 0.25, 0.5, 0.75, 1.0])


def test_limit_below_one_a_second_has_no_burst() -> None:
    assert slots(LimitRules(account_per_second=0.5), "AAA") == pytest.approx([0, 2, 4])


def test_idle_time_is_not_saved_beyond_the_burst() -> None:
    unit = UnitOfWork()
    rules = LimitRules(account_per_second=2.0)
    slots(rules, "A", unit=unit)

    assert slots(rules, "AAAA", now=NOW + 1e6, unit=unit) == pytest.approx([0, 0, 0.5, 1.0])


def test_each_sender_has_a_separate_limit() -> None:
    assert slots(LimitRules(sender_per_second=1.0), "AAABAB") == pytest.approx([0, 1, 2, 0, 3, 1])


def test_slower_of_both_limits_decides() -> None:
    waits = slots(LimitRules(account_per_second=2.0, sender_per_second=1.0), "ABAB")

    assert waits == pytest.approx([0, 0, 1, 1])


def test_sender_that_waits_for_its_limit_takes_no_reservation_of_the_account() -> None:
    unit = UnitOfWork()
    rules = LimitRules(account_per_second=10.0, sender_per_second=1.0)
    for _ in range(100):
        reserve(unit, A, rules, now=NOW)

    assert reserve(unit, B, rules, now=NOW).at == NOW


def test_retry_after_holds_back_the_whole_account() -> None:
    unit = UnitOfWork()
    hold_back(unit, NOW + 30)
    hold_back(unit, NOW + 10)

    assert slots(LimitRules(), "AB", unit=unit) == [30, 30]
    paced = LimitRules(account_per_second=1.0)
    assert slots(paced, "AB", unit=unit) == pytest.approx([30, 31])
    assert slots(LimitRules(), "A", now=NOW + 40, unit=unit) == [0]


@given(
    rate=st.floats(0.1, 50),
    gaps=st.lists(st.floats(0, 5), min_size=1, max_size=60),
)
def test_no_second_exceeds_twice_the_rate_and_reservations_are_in_order(
    rate: float, gaps: list[float]
) -> None:
    unit, now, reserved = UnitOfWork(), NOW, []
    for gap in gaps:
        now += gap
        reserved.append(max(now, _reservation(unit, A, LimitRules(account_per_second=rate), now)))

    assert reserved == sorted(reserved)
    for start in reserved:
        within = sum(start <= at < start + 1.0 for at in reserved)
        assert within <= 2 * max(rate, 1.0) + 1.5


def most(times: list[float], seconds: float) -> int:
    """Return the maximum number within that number of seconds."""
    return max(sum(start <= at < start + seconds for at in times) for start in times)


def come(
    unit: UnitOfWork, rules: LimitRules, comings: list[tuple[float, str]], late: list[float]
) -> list[tuple[float, str]]:
    """Return the send times of senders that arrive at these times and return late by `late`, in its order."""
    lates, gone = deque(late), []
    coming = [(at, number, sender, NO_RESERVATION) for number, (at, sender) in enumerate(comings)]
    while coming:
        at, number, sender, held = heapq.heappop(coming)
        reservation = reserve(unit, sender, rules, now=at, held=held)
        if reservation.at <= at:
            gone.append((at, sender))
        else:
            heapq.heappush(coming, (reservation.at + lates[0], number, sender, reservation))
            lates.rotate()
    return gone


_LATE = st.lists(st.floats(0, 2) | st.floats(0, 100), min_size=1, max_size=20)


@given(
    rate=st.floats(0.1, 50),
    gaps=st.lists(st.just(0.0) | st.floats(0, 2), min_size=1, max_size=60),
    late=_LATE,
)
def test_late_submissions_are_all_sent_within_the_rate_and_the_lateness_of_copies(
    rate: float, gaps: list[float], late: list[float]
) -> None:
    comings = [(NOW + at, A) for at in accumulate(gaps)]
    times = [at for at, _ in come(UnitOfWork(), LimitRules(account_per_second=rate), comings, late)]

    assert len(times) == len(gaps)
    assert all(most(times, seconds) <= rate * (seconds + LAPSE) + 1.001 for seconds in (1.0, 10.0, 60.0))


@given(senders=st.lists(st.sampled_from([A, A, B]), min_size=1, max_size=60), late=_LATE)
def test_sender_keeps_its_rate_after_any_wait_for_the_account(senders: list[str], late: list[float]) -> None:
    rules = LimitRules(account_per_second=2.0, sender_per_second=1.0)
    gone = come(UnitOfWork(), rules, [(NOW, sender) for sender in senders], late)

    assert len(gone) == len(senders)
    for sender in set(senders):
        times = [at for at, whose in gone if whose == sender]
        assert all(most(times, seconds) <= seconds + LAPSE + 1.001 for seconds in (1.0, 10.0, 60.0))


@pytest.mark.parametrize("unavailable", [5.0, 600.0])
def test_late_submissions_of_one_sender_delay_no_other_sender(unavailable: float) -> None:
    unit, rules = UnitOfWork(), LimitRules(account_per_second=2.0, sender_per_second=0.5)
    held = [reserve(unit, A, rules, now=NOW) for _ in range(20)]
    now = NOW + 40.0 + unavailable
    late = [reserve(unit, A, rules, now=now, held=reservation) for reservation in held[1:]]

    assert [reservation.at for reservation in late] == pytest.approx(
        [now + 2 * number for number in range(19)]
    )
    assert reserve(unit, B, rules, now=now).at == now


def test_late_submission_goes_before_later_reservations() -> None:
    unit, rules = UnitOfWork(), LimitRules(account_per_second=1.0)
    first, late, *others = [reserve(unit, A, rules, now=NOW) for _ in range(6)]
    assert first.at == NOW
    for reservation in others[:2]:
        reserve(unit, A, rules, now=reservation.at, held=reservation)
    # Its reservation was at 1, and those of the last two are at 4 and 5.
    assert reserve(unit, A, rules, now=NOW + 4.2, held=late).at == NOW + 4.2
    turns = [
        reserve(unit, A, rules, now=reservation.at + 0.5, held=reservation) for reservation in others[2:]
    ]

    assert [reservation.queued for reservation in turns] == [True, True]
    assert [reservation.at - NOW for reservation in turns] == pytest.approx([5.2, 6.2])
    assert reserve(unit, A, rules, now=turns[0].at, held=turns[0]).at == turns[0].at


# --- claims ----------------------------------------------------------------------------------------------------------


def command(number: int, *, expires_at: float | None = None) -> SendSms:
    fields = {"id": f"order-{number}", "destination_address": "+16131234567", "sender_address": A}
    return read_command(fields, expires_at=expires_at)


def claim(unit: UnitOfWork, number: int, *, at: float = 0.0, expires_at: float | None = None) -> object:
    rules = LedgerRules(limits=LimitRules(account_per_second=0.5))
    return Claim(
        command=command(number, expires_at=expires_at),
        index=0,
        owner=f"{number} at {at}",
        now=NOW + at,
        style=STYLE,
        rules=rules,
    ).apply(unit)


def throttle(unit: UnitOfWork, number: int, *, hold: float) -> None:
    """Let the provider answer the claim made at 0 with a rate limit."""
    next_step = NextStep(
        outcome=None, result=SubmissionResult(attempts=1), retry_at=NOW + hold, hold_until=NOW + hold
    )
    assert RecordAnswer(
        command=command(number),
        command_id=f"order-{number}",
        index=0,
        owner=f"{number} at 0.0",
        next_step=next_step,
        now=NOW,
        style=STYLE,
    ).apply(unit)


def test_submission_waits_for_its_reservation_and_counts_no_attempt() -> None:
    unit = UnitOfWork()

    assert isinstance(claim(unit, 1), Call)
    assert claim(unit, 2) == NotBefore(at=NOW + 2, own=True, limited=True, version=0)
    assert claim(unit, 2, at=1) == NotBefore(at=NOW + 2, own=True, limited=True, version=0)
    assert claim(unit, 3, at=1) == NotBefore(at=NOW + 4, own=True, limited=True, version=0)
    assert claim(unit, 2, at=2) == Call(attempts=0, first_attempt_at=NOW + 2, version=0)
    assert claim(unit, 3, at=3.9) == NotBefore(at=NOW + 4, own=True, limited=True, version=0)


def test_submission_that_expires_before_its_reservation_takes_none() -> None:
    unit = UnitOfWork()
    claim(unit, 1)
    claim(unit, 2)
    # Its reservation would be at 4.
    late = claim(unit, 3, at=1, expires_at=NOW + 3)
    again = claim(unit, 3, at=2.9, expires_at=NOW + 3)
    another = claim(unit, 4, at=2.9)
    ended = claim(unit, 3, at=3, expires_at=NOW + 3)

    assert late == NotBefore(at=NOW + 3, own=True, limited=True, version=0)
    assert again == NotBefore(at=NOW + 3, own=True, version=0)
    assert another == NotBefore(at=NOW + 4, own=True, limited=True, version=0)
    assert isinstance(ended, HasOutcome)
    assert ended.outcome is Outcome.EXPIRED


def test_no_submission_is_sent_before_the_retry_after_of_a_429_even_with_a_reservation() -> None:
    unit = UnitOfWork()
    claim(unit, 1)
    claim(unit, 2)
    throttle(unit, 1, hold=30)
    held = claim(unit, 2, at=2)

    assert isinstance(held, NotBefore)
    assert held.at >= NOW + 30
    assert claim(unit, 2, at=29.9) == held
    assert isinstance(claim(unit, 2, at=held.at - NOW), Call)
    assert isinstance(claim(unit, 3, at=29.9), NotBefore)


def test_reservations_keep_their_order_after_a_429() -> None:
    unit = UnitOfWork()
    for number in range(1, 100):
        claim(unit, number)
    throttle(unit, 1, hold=30)
    held = claim(unit, 2, at=2)

    assert isinstance(held, NotBefore)
    assert held.at == NOW + 30


def test_after_a_429_those_that_waited_are_paced_again() -> None:
    unit = UnitOfWork()
    claim(unit, 1)
    for number in (2, 3, 4):
        claim(unit, number)
    throttle(unit, 1, hold=30)
    held = [claim(unit, number, at=8) for number in (2, 3, 4)]

    assert all(isinstance(later, NotBefore) for later in held)
    times = [later.at - NOW for later in held if isinstance(later, NotBefore)]
    assert times == pytest.approx([30, 32, 34])


def test_submissions_that_missed_their_reservations_go_one_by_one() -> None:
    unit = UnitOfWork()
    waiting = range(2, 12)
    for number in (1, *waiting):
        claim(unit, number)
    late = [claim(unit, number, at=600) for number in waiting]
    times = [later.at - NOW for later in late[1:] if isinstance(later, NotBefore)]

    assert isinstance(late[0], Call)
    assert times == pytest.approx([602 + 2 * number for number in range(9)])


def test_reservation_may_be_used_as_late_as_copies_arrive() -> None:
    unit = UnitOfWork()
    for number in (1, 2, 3):
        claim(unit, number)

    assert isinstance(claim(unit, 2, at=2 + 2.5), Call)
    assert isinstance(claim(unit, 3, at=4 + 2.5), Call)


# --- a backlog -------------------------------------------------------------------------------------------------------


def backlog(
    size: int, rate: float, *, moves: float, unavailable: tuple[float, float] = (0.0, 0.0)
) -> list[float]:
    """Return the seconds that each of the commands in the queue waits.

    A worker consumes that many per second from the queue's head; copies leave the delay queues on whole seconds, to its
    tail. Between the two times of `unavailable` it consumes none.
    """
    unit, rules = UnitOfWork(), LedgerRules(limits=LimitRules(account_per_second=rate))
    commands = [command(number) for number in range(size)]
    queue = deque((number, 0, False) for number in range(size))
    waiting: list[tuple[float, int, int, bool]] = []
    delay: list[tuple[float, int, int]] = []
    gone: dict[int, float] = {}
    now = NOW
    while len(gone) < size:
        now = NOW + unavailable[1] if unavailable[0] <= now - NOW < unavailable[1] else now + 1 / moves
        while delay and delay[0][0] <= now:
            _, number, version = heapq.heappop(delay)
            queue.append((number, version, True))
        if waiting and waiting[0][0] <= now:
            _, number, version, delayed = heapq.heappop(waiting)
        elif queue:
            number, version, delayed = queue.popleft()
        else:
            continue
        verdict = Claim(
            command=commands[number],
            index=0,
            owner=f"{number} at {now}",
            now=now,
            style=STYLE,
            rules=rules,
            version=version,
            copy_version=version,
            delayed=delayed,
        ).apply(unit)
        if isinstance(verdict, Call):
            gone[number] = now - NOW
            continue
        assert isinstance(verdict, NotBefore)
        if verdict.at - now <= SHORT_WAIT and len(waiting) < 8:
            heapq.heappush(waiting, (verdict.at, number, version, delayed))
            continue
        copy = NewVersion(command_id=f"order-{number}", version=version, now=now).apply(unit)
        assert copy is not None
        heapq.heappush(delay, (now + max(1, math.ceil(verdict.at - now)), number, copy))
    return [gone[number] for number in range(size)]


def test_backlog_goes_at_the_rate_from_its_first_second_to_its_last() -> None:
    waits = backlog(2000, 10.0, moves=100.0)
    per_ten_seconds = Counter(int(at // 10) for at in waits)

    assert all(per_ten_seconds[ten] >= 75 for ten in range(20)), "the limit is not used"
    assert most(waits, 10.0) <= 10.0 * (10.0 + LAPSE) + 1


def test_head_of_a_backlog_is_sent_after_one_pass_of_the_queue() -> None:
    waits = backlog(2000, 10.0, moves=100.0)

    # The queue takes 20 s to pass.
    assert max(at - number / 10.0 for number, at in enumerate(waits)) <= 22.0


def test_outage_delays_a_backlog_by_its_length_only() -> None:
    waits = backlog(1000, 10.0, moves=100.0, unavailable=(30.0, 90.0))
    after = [at for at in waits if at >= 90.0]

    assert not any(30.0 <= at < 90.0 for at in waits)
    assert most(after, 10.0) <= 10.0 * (10.0 + LAPSE) + 1
    assert max(waits) <= 1000 / 10.0 + 60.0 + 5.0
