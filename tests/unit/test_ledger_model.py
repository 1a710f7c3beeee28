"""Model test of the worker's protocol and the ledger's rules, over any interleaving of deliveries and crashes."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from bridge.domain.ledger import NewVersion
from bridge.domain.outcomes import Outcome
from tests.unit.altered_texts import KNOWN, UNKNOWN
from tests.unit.delivery_model import (
    AMBIGUOUS,
    LOST,
    PLANS,
    SENT,
    SETTLE,
    TOO_LATE,
    UNSENT,
    DeliveryModel,
    Plan,
)

_PICK = st.integers(0, 5)


class Sending(RuleBasedStateMachine):
    """Commands that are delivered repeatedly, with faults of workers and provider."""

    model: DeliveryModel

    @initialize(
        twins=st.booleans(),
        times=st.booleans(),
        park=st.booleans(),
        limits=st.booleans(),
        alteration=st.sampled_from([None, *sorted(KNOWN | UNKNOWN)]),
        crowd=st.integers(0, 3),
        restores=st.booleans(),
    )
    def begin(
        self,
        twins: bool,
        times: bool,
        park: bool,
        limits: bool,
        alteration: str | None,
        crowd: int,
        restores: bool,
    ) -> None:
        self.model = DeliveryModel(
            twins=twins, times=times, park=park, limits=limits, alteration=alteration, crowd=crowd
        )
        self.plans = [*PLANS, TOO_LATE] if park else PLANS
        # Submissions that wait for a time of day or a reservation wait longer by the step of a clock that was set back.
        self.moves = not times and not limits and not restores
        # A repeat with an unrecognizable text is sent again, and identical messages are taken for each other.
        self.restores = restores and alteration not in UNKNOWN and not twins and not crowd

    @rule(pick=_PICK)
    def a_command_is_published_again(self, pick: int) -> None:
        model = self.model
        if len(model.queue) + len(model.delayed) + len(model.jobs) < 6:
            model.publish(list(model.commands)[pick % len(model.commands)])

    @precondition(lambda self: self.model.dead_letters)
    @rule(pick=_PICK, resend=st.booleans())
    def a_dead_letter_is_sent_back(self, pick: int, resend: bool) -> None:
        dead = self.model.dead_letters
        self.model.send_back(dead[pick % len(dead)], resend=resend)

    @precondition(lambda self: self.model.queue)
    @rule(pick=_PICK, in_turns=st.booleans(), steps=st.integers(0, 12))
    def a_worker_takes_a_delivery(self, pick: int, in_turns: bool, steps: int) -> None:
        model = self.model
        job = model.take(model.queue.pop(pick % len(model.queue)), in_turns=in_turns)
        model.advance(job, steps)

    @precondition(lambda self: self.model.jobs)
    @rule(
        pick=_PICK,
        steps=st.integers(1, 12),
        plans=st.lists(st.integers(0, len(PLANS)), max_size=2),
    )
    def a_worker_goes_on(self, pick: int, steps: int, plans: list[int]) -> None:
        self.model.plans = [self.plans[plan % len(self.plans)] for plan in plans]
        self.model.advance(self.model.jobs[pick % len(self.model.jobs)], steps)

    @precondition(lambda self: self.model.jobs)
    @rule(pick=_PICK, reached=st.integers(0, 3))
    def a_worker_is_killed(self, pick: int, reached: int) -> None:
        self.model.kill(self.model.jobs[pick % len(self.model.jobs)], reached=reached)

    @precondition(lambda self: self.model.jobs)
    @rule(pick=_PICK, noticed=st.booleans())
    def a_worker_loses_its_connection_and_goes_on(self, pick: int, noticed: bool) -> None:
        self.model.cut_off(self.model.jobs[pick % len(self.model.jobs)], noticed=noticed)

    @rule(has_capacity=st.booleans())
    def rate_limits_leave_capacity_in_workers(self, has_capacity: bool) -> None:
        self.model.has_capacity = has_capacity

    @rule(seconds=st.sampled_from([1.0, 2.5, 11.0, 31.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.model.now += seconds

    @precondition(lambda self: self.moves)
    @rule(ahead=st.sampled_from([0.0, 0.0, 50.0, -50.0, 110.0, 1000.0, -1000.0, 86400.0, -86400.0]))
    def the_clock_is_set(self, ahead: float) -> None:
        self.model.set_clock(ahead)

    @precondition(lambda self: self.model.due)
    @rule(pick=_PICK)
    def a_delayed_copy_comes(self, pick: int) -> None:
        self.model.bring(self.model.due[pick % len(self.model.due)])

    @precondition(lambda self: self.restores)
    @rule()
    def the_ledger_is_saved(self) -> None:
        self.model.save()

    @precondition(lambda self: self.restores)
    @rule()
    def the_ledger_is_restored(self) -> None:
        self.model.restore()

    @rule()
    def another_sender_sends(self) -> None:
        self.model.another_sender_sends("You have won a cruise")

    @rule(history=st.sampled_from(["whole", "cut off", "down"]))
    def the_history_becomes(self, history: str) -> None:
        self.model.history = history  # type: ignore[assignment]

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.model.settle()


TestSending = Sending.TestCase
TestSending.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def walk(seed: int, steps: int = 40, *, restores: bool = False) -> DeliveryModel:  # noqa: C901 - a table of what may happen next
    """Take a random walk; many short walks find more than few long ones."""
    chance = random.Random(seed)
    park = chance.random() < 0.2
    plans = [*PLANS, TOO_LATE] if park else PLANS
    times, limits = chance.random() < 0.2, chance.random() < 0.2
    moves = not times and not limits and chance.random() < 0.5 and not restores
    model = DeliveryModel(
        # Of two identical submissions, one lost and one not, either may be taken for the other; so no others.
        twins=chance.random() < 0.5 and not restores,
        times=times,
        park=park,
        limits=limits,
        max_age=chance.choice([5.0, 100.0, 400.0]),
        alteration=chance.choice([None, None, *sorted(KNOWN if restores else KNOWN | UNKNOWN)]),
        crowd=0 if restores else chance.choice([0, 0, 1, 3]),
    )
    for _ in range(steps):
        if restores:
            save_or_restore(model, chance)
        roll = chance.random()
        model.plans = chance.choices(plans, k=2)
        if roll < 0.45 and model.jobs:
            model.advance(chance.choice(model.jobs), chance.choice([1, 1, 2, 3, 20]))
        elif roll < 0.52 and model.jobs:
            model.kill(chance.choice(model.jobs), reached=chance.choice([0, 0, 1, 2]))
        elif roll < 0.60 and model.jobs:
            model.cut_off(chance.choice(model.jobs), noticed=chance.random() < 0.5)
        elif roll < 0.68:
            model.now += chance.choice([1.0, 1.0, 2.5, 11.0, 31.0, 70.0])
        elif roll < 0.82 and model.due:
            model.bring(chance.choice(model.due))
        elif roll < 0.94 and model.queue:
            model.take(model.queue.pop(chance.randrange(len(model.queue))), in_turns=chance.random() < 0.3)
        elif roll < 0.96:
            model.history = chance.choice(["whole", "whole", "cut off", "down"])
        elif roll < 0.965:
            model.another_sender_sends("You have won a cruise")
        elif roll < 0.98 and model.dead_letters:
            model.send_back(chance.choice(model.dead_letters), resend=chance.random() < 0.5)
        elif roll >= 0.98 and moves:
            model.set_clock(
                chance.choice([0.0, 50.0, -50.0, 110.0, -110.0, 1000.0, -1000.0, 86400.0, -86400.0])
            )
        elif roll >= 0.98:
            model.publish(chance.choice(list(model.commands)))
    return model


def save_or_restore(model: DeliveryModel, chance: random.Random) -> None:
    """Restore an earlier state of the ledger at times, and let publishers repeat lost commands."""
    roll = chance.random()
    if roll < 0.05:
        model.save()
    elif roll < 0.10:
        model.restore()
    elif roll < 0.15 and len(model.queue) < 6:
        model.publish(chance.choice(list(model.commands)))


@pytest.mark.parametrize("hundred", range(3))
def test_nothing_is_sent_twice_with_a_restored_ledger_that_lost_any_commits(hundred: int) -> None:
    for seed in range(hundred * 100, hundred * 100 + 100):
        walk(seed, restores=True).settle()


@pytest.mark.parametrize("hundred", range(6))
def test_each_submission_is_sent_and_published_as_specified_under_any_faults(hundred: int) -> None:
    for seed in range(hundred * 100, hundred * 100 + 100):
        walk(seed).settle()


def outcomes(model: DeliveryModel) -> dict[tuple[str, int], Outcome]:
    """Return the last outcome of each submission."""
    return {
        (submission_id.command_id, submission_id.index): outcome
        for submission_id, outcome, _ in model.outcomes.values()
    }


def test_outcome_recorded_by_another_before_the_reschedule_is_published_by_the_copy() -> None:
    model = DeliveryModel()
    zombie = model.take(model.queue.pop())
    model.advance(zombie, 1)
    model.cut_off(zombie)
    heir = model.take(model.queue.pop())
    model.plans = [UNSENT]
    model.advance(heir, 4)
    model.plans = []
    model.advance(zombie, 2)
    model.advance(heir)

    assert set(outcomes(model)) == {("order-17", 0)}, "the zombie recorded and did not publish"
    assert model.published == {}
    assert [message.version for message in model.delayed] == [1]
    model.settle()


def test_interrupted_reschedule_leaves_no_submission_without_a_delivery() -> None:
    model = DeliveryModel()
    model.plans = [UNSENT] * 2
    model.advance(model.take(model.queue.pop()))
    model.now += 1.0
    model.bring(model.due[0])
    model.plans = [UNSENT] * 2
    cut = model.take(model.queue.pop())
    model.advance(cut, 7)
    model.kill(cut)

    assert model.ledger.apply([NewVersion(command_id="order-17", version=2, now=model.now)]) == [3]
    assert [(message.version, message.redelivered) for message in model.queue] == [(1, True)]
    model.settle()


def test_late_response_without_a_claim_keeps_the_message_for_its_submission() -> None:
    model = DeliveryModel(twins=True)
    zombie = model.take(model.queue.pop(0))
    model.plans = [Plan(accepts=True, lag=SETTLE)]
    model.advance(zombie, 2)
    model.plans = [Plan(answer=AMBIGUOUS)]
    model.advance(model.take(model.queue.pop(0)))
    model.cut_off(zombie)
    model.now += 31.0
    heir = model.take(model.queue.pop(0))
    model.advance(heir, 1)
    model.advance(zombie)
    model.settle()

    owner = model.owned["m-0"]
    assert (owner.command_id, owner.index) == ("order-17", 0)
    assert set(outcomes(model).values()) == {Outcome.SENT}
    assert len(model.accepted) == 3


def test_dead_letter_replayed_twice_is_sent_once() -> None:
    model = DeliveryModel(park=True)
    model.plans = [Plan(answer=AMBIGUOUS)] * 2
    model.settle_plans()

    assert set(outcomes(model).values()) == {Outcome.UNKNOWN}
    [first, _] = model.dead_letters
    for _ in range(2):
        model.send_back(first, resend=True)
    model.settle()
    assert outcomes(model)["order-17", 0] is Outcome.SENT
    assert len(model.accepted) == 1


def test_replayed_unknown_is_looked_up_first_and_resent_only_on_request() -> None:
    model = DeliveryModel(park=True)
    model.plans = [TOO_LATE, Plan(answer=AMBIGUOUS)]
    model.settle_plans()
    for event_id in model.dead_letters:
        model.send_back(event_id, resend=False)
    model.now += 200.0
    model.settle()

    assert outcomes(model) == {("order-17", 0): Outcome.UNKNOWN, ("order-17", 1): Outcome.SENT}
    assert len(model.accepted) == 1


def test_command_that_crashes_workers_repeatedly_is_given_up() -> None:
    model = DeliveryModel()
    for _ in range(3):
        model.plans = [LOST]
        job = model.take(model.queue.pop(0))
        model.advance(job, 2)
        model.kill(job)
        model.now += 31.0
        model.history = "down"
    model.settle()

    assert outcomes(model) == {("order-17", 0): Outcome.UNKNOWN, ("order-17", 1): Outcome.SENT}


def test_identical_submissions_in_doubt_do_not_take_each_others_late_message() -> None:
    model = DeliveryModel(twins=True)
    first, second = model.queue
    model.queue.clear()
    model.plans = [LOST]
    model.advance(model.take(second))
    model.now += 50.0
    model.plans = [SENT, Plan(accepts=True, lag=SETTLE, answer=AMBIGUOUS)]
    model.advance(model.take(first))
    model.now += 3.0
    [copy] = [message for message in model.delayed if message.command_id == "order-17"]
    model.bring(copy)
    model.settle()

    assert set(outcomes(model).values()) == {Outcome.SENT}
    assert len(model.accepted) == len(model.owned) == 3


def test_message_of_an_unrecorded_call_is_left_to_that_call() -> None:
    model = DeliveryModel(twins=True)
    first, second = model.queue
    model.queue.clear()
    model.plans = [Plan(answer=AMBIGUOUS)]
    model.advance(model.take(second))
    model.now += 3.0
    caller = model.take(first)
    model.advance(caller, 2)
    model.bring(model.due[0])
    model.advance(model.take(model.queue.pop()))
    model.advance(caller)
    model.settle()

    owner = model.owned["m-0"]
    assert (owner.command_id, owner.index) == ("order-17", 0)
    assert set(outcomes(model).values()) == {Outcome.SENT}
    assert len(model.accepted) == 3
