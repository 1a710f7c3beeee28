"""The simulation of many workers: its parts, and its results with a single bottleneck."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from benchmarks.fleet.agenda import Agenda, Cores, Log, Turns
from benchmarks.fleet.costs import line
from benchmarks.fleet.model import Fleet
from benchmarks.fleet.plan import Costs, Plan, Result
from bridge.domain.rules import LimitRules

#: Almost no cost for any step.
FREE = Costs(call=1e-6, loop=1e-6, change=1e-7, commit=1e-6, sync=1e-6, broker=1e-7, queue=1e-7)
PLAN = Plan(workers=1, in_flight=16, latency=0.1, spread=0.0, commands=3_000)


def simulate(plan: Plan, costs: Costs = FREE) -> Result:
    return Fleet(plan, costs).run()


def when(agenda: Agenda, moments: list[float]) -> None:
    moments.append(round(agenda.now, 6))


def test_processors_run_one_task_each_at_a_time() -> None:
    agenda, ended = Agenda(), list[float]()
    cores = Cores(agenda, 2)
    for _ in range(3):
        cores.run(1.0, partial(when, agenda, ended))

    agenda.run(lambda: False)

    assert ended == [1.0, 1.0, 2.0]
    assert cores.share == pytest.approx(3 / 4)


def test_lock_is_held_by_one_process_at_a_time_in_order() -> None:
    agenda, begun = Agenda(), list[float]()
    lock = Turns(agenda)
    for seconds in (2.0, 1.0, 1.0):

        def hold(done: object, seconds: float = seconds) -> None:
            assert callable(done)
            when(agenda, begun)
            agenda.after(seconds, done)

        lock.take(hold)

    agenda.run(lambda: False)

    assert begun == [0.0, 2.0, 3.0]
    assert lock.share == 1.0


def test_transactions_that_commit_during_a_sync_share_the_next_one() -> None:
    agenda, ended = Agenda(), list[float]()
    log = Log(agenda, 1.0)
    for moment in (0.0, 0.2, 0.4, 1.5):
        agenda.after(moment, partial(log.sync, partial(when, agenda, ended)))

    agenda.run(lambda: False)

    assert ended == [1.0, 2.0, 2.0, 3.0]


def test_all_calls_are_in_flight_when_only_the_provider_takes_time() -> None:
    assert simulate(PLAN).per_second == pytest.approx(160, rel=0.02)
    assert simulate(replace(PLAN, workers=5)).per_second == pytest.approx(800, rel=0.02)


def test_run_is_determined_by_its_seed() -> None:
    plan = replace(PLAN, spread=0.5, workers=3, offered=300.0)

    assert simulate(plan) == simulate(plan)
    assert simulate(plan) != simulate(replace(plan, seed=2))


def test_sqlite_ledger_is_one_worker_s_at_a_time() -> None:
    costs = replace(FREE, change=500e-6)
    plan = replace(PLAN, sqlite=True, latency=0.0)

    assert simulate(plan, costs).per_second == pytest.approx(1000, rel=0.05)
    assert simulate(replace(plan, workers=4), costs).per_second == pytest.approx(1000, rel=0.05)


def test_ledger_server_is_the_bottleneck_and_shards_raise_the_rate() -> None:
    costs = replace(FREE, server_change=4e-3)
    plan = replace(PLAN, workers=40, latency=0.01)

    one, four = simulate(plan, costs), simulate(replace(plan, shards=4), costs)

    assert one.per_second == pytest.approx(1000, rel=0.05)
    assert one.ledger == pytest.approx(1.0, abs=0.02)
    assert four.per_second == pytest.approx(4000, rel=0.05)


def test_broker_is_the_bottleneck_for_any_number_of_shards() -> None:
    costs = replace(FREE, broker=8e-3)
    plan = replace(PLAN, workers=40, shards=4, latency=0.01)

    assert simulate(plan, costs).per_second == pytest.approx(1000, rel=0.05)


def test_processor_time_of_other_processes_is_not_available() -> None:
    costs = replace(FREE, loop=10e-3)
    plan = replace(PLAN, workers=4, latency=0.0, shared_cores=2)

    assert simulate(plan, costs).per_second == pytest.approx(200, rel=0.05)
    assert simulate(replace(plan, others=1.0), costs).per_second == pytest.approx(100, rel=0.15)


def test_commands_are_sent_at_the_rate_of_the_account() -> None:
    plan = replace(PLAN, workers=4, limits=LimitRules(account_per_second=50.0), offered=45.0, commands=2_000)

    assert simulate(plan).per_second == pytest.approx(45, rel=0.05)
    assert simulate(replace(plan, offered=100.0)).per_second == pytest.approx(50, rel=0.05)


def test_limit_serializes_the_commits_of_workers() -> None:
    costs = replace(FREE, network=2e-3)
    plan = replace(PLAN, workers=50, latency=0.01)
    limited = replace(plan, limits=LimitRules(account_per_second=1e6))

    assert simulate(plan, costs).commits_per_second > 2_000
    assert simulate(limited, costs).commits_per_second == pytest.approx(500, rel=0.05)


def test_line_separates_constant_cost_from_growing_cost() -> None:
    assert line([1.0, 2.0, 4.0], [5.0, 7.0, 11.0]) == pytest.approx((3.0, 2.0))
    assert line([1.0, 2.0, 4.0], [5.0, 4.0, 3.0]) == pytest.approx((4.0, 0.0))
