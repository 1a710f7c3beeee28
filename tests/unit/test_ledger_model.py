"""The worker's protocol against the ledger's rules, over any interleaving of deliveries, workers, crashes and time."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from bridge.domain.ledger import HandOver
from bridge.domain.outcomes import Outcome
from tests.unit.altered_texts import KNOWN, UNKNOWN
from tests.unit.sending_world import AMBIGUOUS, LOST, PLANS, SENT, SETTLE, TOO_LATE, UNSENT, Plan, World

_PICK = st.integers(0, 5)


class Sending(RuleBasedStateMachine):
    """Commands delivered as often as it likes, to workers and a provider at their worst."""

    world: World

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
        self.world = World(
            twins=twins, times=times, park=park, limits=limits, alteration=alteration, crowd=crowd
        )
        self.plans = [*PLANS, TOO_LATE] if park else PLANS
        # What waits for a time of the day, or behind others for its slot, waits longer by what the clock was set back.
        self.moves = not times and not limits and not restores
        # A repeat whose text was altered beyond recognition is sent again, and what is alike is taken for each other.
        self.restores = restores and alteration not in UNKNOWN and not twins and not crowd

    @rule(pick=_PICK)
    def a_command_is_published_again(self, pick: int) -> None:
        world = self.world
        if len(world.queue) + len(world.delayed) + len(world.jobs) < 6:
            world.publish(list(world.commands)[pick % len(world.commands)])

    @precondition(lambda self: self.world.dead_letters)
    @rule(pick=_PICK, resend=st.booleans())
    def a_dead_letter_is_sent_back(self, pick: int, resend: bool) -> None:
        dead = self.world.dead_letters
        self.world.send_back(dead[pick % len(dead)], resend=resend)

    @precondition(lambda self: self.world.queue)
    @rule(pick=_PICK, in_turns=st.booleans(), steps=st.integers(0, 12))
    def a_worker_takes_a_delivery(self, pick: int, in_turns: bool, steps: int) -> None:
        world = self.world
        job = world.take(world.queue.pop(pick % len(world.queue)), in_turns=in_turns)
        world.advance(job, steps)

    @precondition(lambda self: self.world.jobs)
    @rule(
        pick=_PICK,
        steps=st.integers(1, 12),
        plans=st.lists(st.integers(0, len(PLANS)), max_size=2),
    )
    def a_worker_goes_on(self, pick: int, steps: int, plans: list[int]) -> None:
        self.world.plans = [self.plans[plan % len(self.plans)] for plan in plans]
        self.world.advance(self.world.jobs[pick % len(self.world.jobs)], steps)

    @precondition(lambda self: self.world.jobs)
    @rule(pick=_PICK, reached=st.integers(0, 3))
    def a_worker_is_killed(self, pick: int, reached: int) -> None:
        self.world.kill(self.world.jobs[pick % len(self.world.jobs)], reached=reached)

    @precondition(lambda self: self.world.jobs)
    @rule(pick=_PICK, noticed=st.booleans())
    def a_worker_loses_its_connection_and_goes_on(self, pick: int, noticed: bool) -> None:
        self.world.cut_off(self.world.jobs[pick % len(self.world.jobs)], noticed=noticed)

    @rule(has_room=st.booleans())
    def the_rate_limits_leave_room_in_workers(self, has_room: bool) -> None:
        self.world.has_room = has_room

    @rule(seconds=st.sampled_from([1.0, 2.5, 11.0, 31.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    @precondition(lambda self: self.moves)
    @rule(ahead=st.sampled_from([0.0, 0.0, 50.0, -50.0, 110.0, 1000.0, -1000.0, 86400.0, -86400.0]))
    def the_clock_is_set(self, ahead: float) -> None:
        self.world.set_clock(ahead)

    @precondition(lambda self: self.world.due)
    @rule(pick=_PICK)
    def a_delayed_copy_comes(self, pick: int) -> None:
        self.world.bring(self.world.due[pick % len(self.world.due)])

    @precondition(lambda self: self.restores)
    @rule()
    def the_ledger_is_saved(self) -> None:
        self.world.save()

    @precondition(lambda self: self.restores)
    @rule()
    def the_ledger_is_restored(self) -> None:
        self.world.restore()

    @rule()
    def a_stranger_sends(self) -> None:
        self.world.a_stranger_sends("You have won a cruise")

    @rule(history=st.sampled_from(["whole", "cut off", "down"]))
    def the_history_becomes(self, history: str) -> None:
        self.world.history = history  # type: ignore[assignment]

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.settle()


TestSending = Sending.TestCase
TestSending.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def walk(seed: int, steps: int = 40, *, restores: bool = False) -> World:  # noqa: C901 - a table of what may happen next
    """Take a walk by chance; many short walks find what few long ones don't."""
    chance = random.Random(seed)
    park = chance.random() < 0.2
    plans = [*PLANS, TOO_LATE] if park else PLANS
    times, limits = chance.random() < 0.2, chance.random() < 0.2
    moves = not times and not limits and chance.random() < 0.5 and not restores
    world = World(
        # Of two that are alike, one lost and one not, either may be taken for the other; so no crowd either.
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
            save_or_restore(world, chance)
        roll = chance.random()
        world.plans = chance.choices(plans, k=2)
        if roll < 0.45 and world.jobs:
            world.advance(chance.choice(world.jobs), chance.choice([1, 1, 2, 3, 20]))
        elif roll < 0.52 and world.jobs:
            world.kill(chance.choice(world.jobs), reached=chance.choice([0, 0, 1, 2]))
        elif roll < 0.60 and world.jobs:
            world.cut_off(chance.choice(world.jobs), noticed=chance.random() < 0.5)
        elif roll < 0.68:
            world.now += chance.choice([1.0, 1.0, 2.5, 11.0, 31.0, 70.0])
        elif roll < 0.82 and world.due:
            world.bring(chance.choice(world.due))
        elif roll < 0.94 and world.queue:
            world.take(world.queue.pop(chance.randrange(len(world.queue))), in_turns=chance.random() < 0.3)
        elif roll < 0.96:
            world.history = chance.choice(["whole", "whole", "cut off", "down"])
        elif roll < 0.965:
            world.a_stranger_sends("You have won a cruise")
        elif roll < 0.98 and world.dead_letters:
            world.send_back(chance.choice(world.dead_letters), resend=chance.random() < 0.5)
        elif roll >= 0.98 and moves:
            world.set_clock(
                chance.choice([0.0, 50.0, -50.0, 110.0, -110.0, 1000.0, -1000.0, 86400.0, -86400.0])
            )
        elif roll >= 0.98:
            world.publish(chance.choice(list(world.commands)))
    return world


def save_or_restore(world: World, chance: random.Random) -> None:
    """Have the ledger go back to an earlier state of itself now and then, and publishers repeat what was lost."""
    roll = chance.random()
    if roll < 0.05:
        world.save()
    elif roll < 0.10:
        world.restore()
    elif roll < 0.15 and len(world.queue) < 6:
        world.publish(chance.choice(list(world.commands)))


@pytest.mark.parametrize("hundred", range(3))
def test_whatever_a_restored_ledger_has_lost_nothing_is_sent_twice(hundred: int) -> None:
    for seed in range(hundred * 100, hundred * 100 + 100):
        walk(seed, restores=True).settle()


@pytest.mark.parametrize("hundred", range(6))
def test_whatever_happens_each_submission_is_accepted_and_told_as_promised(hundred: int) -> None:
    for seed in range(hundred * 100, hundred * 100 + 100):
        walk(seed).settle()


def outcomes(world: World) -> dict[tuple[str, int], Outcome]:
    """Return the last outcome of each submission."""
    return {(place.command_id, place.index): outcome for place, outcome, _ in world.outcomes.values()}


def test_an_outcome_that_another_filed_before_the_hand_over_is_told_by_the_copy() -> None:
    world = World()
    zombie = world.take(world.queue.pop())
    world.advance(zombie, 1)
    world.cut_off(zombie)
    heir = world.take(world.queue.pop())
    world.plans = [UNSENT]
    world.advance(heir, 4)
    world.plans = []
    world.advance(zombie, 2)
    world.advance(heir)

    assert set(outcomes(world)) == {("order-17", 0)}, "the zombie filed and did not tell"
    assert world.told == {}
    assert [message.generation for message in world.delayed] == [1]
    world.settle()


def test_a_hand_over_that_was_cut_leaves_nothing_behind_that_nobody_looks_at() -> None:
    world = World()
    world.plans = [UNSENT] * 2
    world.advance(world.take(world.queue.pop()))
    world.now += 1.0
    world.bring(world.due[0])
    world.plans = [UNSENT] * 2
    cut = world.take(world.queue.pop())
    world.advance(cut, 7)
    world.kill(cut)

    assert world.ledger.apply([HandOver(command_id="order-17", generation=2, now=world.now)]) == [3]
    assert [(message.generation, message.redelivered) for message in world.queue] == [(1, True)]
    world.settle()


def test_a_late_answer_of_a_worker_that_lost_its_claim_keeps_the_message_for_its_submission() -> None:
    world = World(twins=True)
    zombie = world.take(world.queue.pop(0))
    world.plans = [Plan(accepts=True, lag=SETTLE)]
    world.advance(zombie, 2)
    world.plans = [Plan(answer=AMBIGUOUS)]
    world.advance(world.take(world.queue.pop(0)))
    world.cut_off(zombie)
    world.now += 31.0
    heir = world.take(world.queue.pop(0))
    world.advance(heir, 1)
    world.advance(zombie)
    world.settle()

    owner = world.owned["m-0"]
    assert (owner.command_id, owner.index) == ("order-17", 0)
    assert set(outcomes(world).values()) == {Outcome.SENT}
    assert len(world.accepted) == 3


def test_a_dead_letter_that_was_sent_back_twice_sends_once() -> None:
    world = World(park=True)
    world.plans = [Plan(answer=AMBIGUOUS)] * 2
    world.settle_plans()

    assert set(outcomes(world).values()) == {Outcome.UNKNOWN}
    [first, _] = world.dead_letters
    for _ in range(2):
        world.send_back(first, resend=True)
    world.settle()
    assert outcomes(world)["order-17", 0] is Outcome.SENT
    assert len(world.accepted) == 1


def test_an_unknown_that_was_sent_back_is_looked_for_first_and_not_sent_anew_unless_asked() -> None:
    world = World(park=True)
    world.plans = [TOO_LATE, Plan(answer=AMBIGUOUS)]
    world.settle_plans()
    for event_id in world.dead_letters:
        world.send_back(event_id, resend=False)
    world.now += 200.0
    world.settle()

    assert outcomes(world) == {("order-17", 0): Outcome.UNKNOWN, ("order-17", 1): Outcome.SENT}
    assert len(world.accepted) == 1


def test_a_worker_that_dies_again_and_again_gives_up_what_it_died_of() -> None:
    world = World()
    for _ in range(3):
        world.plans = [LOST]
        job = world.take(world.queue.pop(0))
        world.advance(job, 2)
        world.kill(job)
        world.now += 31.0
        world.history = "down"
    world.settle()

    assert outcomes(world) == {("order-17", 0): Outcome.UNKNOWN, ("order-17", 1): Outcome.SENT}


def test_of_two_alike_in_doubt_none_takes_the_message_of_the_other_that_shows_later() -> None:
    world = World(twins=True)
    first, second = world.queue
    world.queue.clear()
    world.plans = [LOST]
    world.advance(world.take(second))
    world.now += 50.0
    world.plans = [SENT, Plan(accepts=True, lag=SETTLE, answer=AMBIGUOUS)]
    world.advance(world.take(first))
    world.now += 3.0
    [copy] = [message for message in world.delayed if message.command_id == "order-17"]
    world.bring(copy)
    world.settle()

    assert set(outcomes(world).values()) == {Outcome.SENT}
    assert len(world.accepted) == len(world.owned) == 3


def test_a_message_of_a_call_that_is_not_filed_yet_is_left_to_it() -> None:
    world = World(twins=True)
    first, second = world.queue
    world.queue.clear()
    world.plans = [Plan(answer=AMBIGUOUS)]
    world.advance(world.take(second))
    world.now += 3.0
    caller = world.take(first)
    world.advance(caller, 2)
    world.bring(world.due[0])
    world.advance(world.take(world.queue.pop()))
    world.advance(caller)
    world.settle()

    owner = world.owned["m-0"]
    assert (owner.command_id, owner.index) == ("order-17", 0)
    assert set(outcomes(world).values()) == {Outcome.SENT}
    assert len(world.accepted) == 3
