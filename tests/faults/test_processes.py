"""Workers that stop, freeze, race, run out of descriptors and lose one of their processes: W3 to W8."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.test_processes import lines_of, pids, runs
from tests.faults.stack import CONCURRENCY, IN_FLIGHT, is_frozen

if TYPE_CHECKING:
    from tests.faults.conftest import MakeScenario
    from tests.faults.scenario import Scenario
    from tests.harness.processes import BridgeProcess

pytestmark = [pytest.mark.broker, pytest.mark.acceptance, pytest.mark.long]


def _deliveries(worker: BridgeProcess) -> int:
    (line,) = (
        line
        for line in worker.admin("/metrics")[1].splitlines()
        if line.startswith("sms_bridge_commands_received_total ")
    )
    return int(float(line.split()[1]))


def test_sigterm_under_load_leaves_nothing_in_doubt(make_scenario: MakeScenario) -> None:
    with make_scenario("W3, SIGTERM under load", seed=3) as scenario:
        worker = scenario.start()
        for _ in range(4):
            scenario.send(40)
            scenario.wait(lambda: scenario.rows(IN_FLIGHT), what="work in flight")
            began = time.monotonic()
            code = scenario.end(worker)
            scenario.fired["SIGTERM"] += 1

            assert code == 0
            assert time.monotonic() - began < 10
            assert scenario.rows(IN_FLIGHT) == 0
            worker = scenario.start()
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 160}
        assert verdict.duplicate_events == 0


def test_second_sigterm_ends_a_worker_whose_provider_hangs(make_scenario: MakeScenario) -> None:
    slow = {"CPAAS__READ_TIMEOUT": "8", "CPAAS__TOTAL_TIMEOUT": "8", "WORKER__LEASE": "20"}
    with make_scenario("W3, SIGTERM twice", seed=3, **slow) as scenario:
        worker = scenario.start()
        scenario.send(3, fault={"name": "accept-hang"})
        scenario.wait(lambda: scenario.accepted == 3, what="calls that hang")
        worker.send_signal(signal.SIGTERM)
        scenario.wait(lambda: worker.admin("/readyz")[0] == 503, what="a worker that drains")
        began = time.monotonic()
        worker.stop(signal.SIGTERM)
        scenario.fired["SIGTERM"] += 2
        scenario.crashed = True
        scenario.killed.add(worker)
        worker.kill()

        assert time.monotonic() - began < 5
        scenario.start()
        verdict = scenario.kept(within=90)

        assert verdict.outcomes == {"sent": 3}


def frozen_worker(scenario: Scenario, failpoint: str) -> BridgeProcess:
    """Start a worker, send a command, and wait until the failpoint has stopped the worker."""
    worker = scenario.start(failpoint=failpoint)
    scenario.send()
    scenario.wait(lambda: is_frozen(worker), what="a frozen worker")
    scenario.fired["freezes"] += 1
    scenario.crashed = True
    return worker


def test_worker_that_wakes_after_its_lease_starts_no_call(
    make_scenario: MakeScenario, ledger: str | None
) -> None:
    with make_scenario("W4, frozen between claim and call", seed=4, ledger=ledger) as scenario:
        frozen = frozen_worker(scenario, "claimed:freeze")
        scenario.start()
        scenario.wait_confirmed()
        frozen.send_signal(signal.SIGCONT)
        scenario.wait(
            lambda: "broker.connected" in frozen.logs.partition("broker.lost")[2], what="a worker awake"
        )
        scenario.send(10)
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 11}
        assert scenario.provider.stats()["sends"] == 11


def test_worker_that_wakes_while_another_calls_takes_nothing_from_it(
    make_scenario: MakeScenario, ledger: str | None
) -> None:
    with make_scenario("W4, frozen, then woken during the other's call", seed=4, ledger=ledger) as scenario:
        frozen = frozen_worker(scenario, "claimed:freeze")
        scenario.provider.settings(latency=0.6)
        scenario.start()
        scenario.wait(lambda: scenario.provider.stats()["sends"], 30, "the other's call")
        frozen.send_signal(signal.SIGCONT)
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 1}
        assert scenario.provider.stats()["sends"] == 1
        assert "claim.lost" in frozen.logs


def test_worker_that_wakes_with_a_response_records_nothing(
    make_scenario: MakeScenario, ledger: str | None
) -> None:
    with make_scenario("W4, frozen between response and record", seed=4, ledger=ledger) as scenario:
        frozen = frozen_worker(scenario, "answered:freeze")
        (command_id,) = scenario.commands
        scenario.start()
        scenario.wait_confirmed()
        frozen.send_signal(signal.SIGCONT)
        scenario.wait(lambda: "claim.lost" in frozen.logs, what="a claim that is lost")
        scenario.kept()

        assert scenario.events_of(command_id)[-1].json["data"]["reconciled"]
        assert scenario.provider.stats()["sends"] == 1


@pytest.mark.parametrize("workers", [2, 4])
def test_every_command_to_several_workers_at_once_is_called_once(
    make_scenario: MakeScenario, ledger: str | None, workers: int
) -> None:
    name = f"W5, {workers} workers, every command {workers} times"
    with make_scenario(name, seed=5, ledger=ledger, provider={"latency": 0.2}) as scenario:
        started = [scenario.start() for _ in range(workers)]
        for body in [scenario.command()[1] for _ in range(60)]:
            # One after the other, so that each goes to the next worker.
            scenario.publish([body] * workers)
        # Copies are published again by design.
        scenario.crashed = True
        scenario.wait_confirmed()
        scenario.wait(scenario.is_idle, 40, "idle")
        # A copy that meets a live claim goes to the delay, and is delivered once more.
        scenario.fired["copies that met a live claim"] = sum(map(_deliveries, started)) - 60 * workers
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 60}
        assert scenario.provider.stats()["sends"] == 60


def test_calls_longer_than_the_heartbeat_cost_no_connection(make_scenario: MakeScenario) -> None:
    slow = {"CPAAS__READ_TIMEOUT": "9", "CPAAS__TOTAL_TIMEOUT": "10", "WORKER__LEASE": "15"}
    with make_scenario("W6, calls of 3 heartbeats", seed=6, provider={"latency": 6.0}, **slow) as scenario:
        worker = scenario.start()
        scenario.send(20)
        scenario.fired["calls of 6 s"] = 20
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 20}
        assert "broker.lost" not in worker.logs
        assert scenario.provider.stats()["sends"] == 20


def test_short_lease_permits_calls(make_scenario: MakeScenario) -> None:
    with make_scenario(
        "W6, a lease of 3 s and no timeout chosen", seed=6, CPAAS__TOTAL_TIMEOUT="0"
    ) as scenario:
        scenario.start()
        scenario.send(20)
        scenario.send(1, fault={"name": "accept-drop"})
        scenario.fired["faulty answers"] = 1
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 21}


def test_worker_without_descriptors_reports_it_and_continues_later(
    make_scenario: MakeScenario,
) -> None:
    with make_scenario("W7, no descriptors", seed=7) as scenario:
        worker = scenario.start()
        used = max(int(entry.name) for entry in Path(f"/proc/{worker.pid}/fd").iterdir())
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (used - 3, 4096))
        scenario.broker.close_connections(scenario.vhost)
        scenario.crashed = True
        scenario.send(20)
        scenario.wait(lambda: "broker.unreachable" in worker.logs, what="a worker in want of descriptors")
        scenario.fired["descriptors refused"] += 1
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (4096, 4096))
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 20}


def test_worker_without_memory_fails_loudly_and_its_successor_loses_nothing(
    make_scenario: MakeScenario,
) -> None:
    with make_scenario("W7, no memory", seed=7, WORKER__PREFETCH="1000") as scenario:
        worker = scenario.start()
        scenario.send(10)
        scenario.wait_confirmed()
        scenario.provider.settings(latency=0.5)
        scenario.send(40)
        scenario.wait(
            lambda: scenario.accepted >= 10 + CONCURRENCY and scenario.rows(IN_FLIGHT), what="calls in flight"
        )
        # Not RLIMIT_AS: what the C library has reserved without using it counts there already.
        resource.prlimit(worker.pid, resource.RLIMIT_DATA, (1 << 20, resource.RLIM_INFINITY))
        scenario.fired["claims in flight"] = scenario.rows(IN_FLIGHT)
        scenario.crashed = True
        scenario.send(200, metadata={"padding": "x" * 60_000})
        code = worker.wait(40)
        scenario.fired["ends for want of memory"] = worker.logs.count("MemoryError")
        scenario.killed.add(worker)
        worker.kill()

        assert code == 1
        assert scenario.fired["ends for want of memory"], worker.logs[-500:]
        scenario.start()
        scenario.resumes()
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 250}


def test_processes_of_a_worker_are_killed_and_then_their_supervisor(
    make_scenario: MakeScenario, ledger: str | None
) -> None:
    with make_scenario("W8, processes of one worker killed", seed=8, ledger=ledger) as scenario:
        worker = scenario.start(WORKER__PROCESSES="2")
        for _ in range(6):
            number = scenario.chance.choice((1, 2))
            victim = pids(worker)[number]
            scenario.send_in_background([scenario.command()[1] for _ in range(30)])
            scenario.wait(lambda: scenario.rows(IN_FLIGHT) >= CONCURRENCY, what="work in flight")
            os.kill(victim, signal.SIGKILL)
            scenario.fired["kills of a process"] += 1
            scenario.crashed = True
            scenario.wait(lambda: pids(worker)[number] != victim, what="another process")  # noqa: B023 - waited for here
        exits = [(line["process"], line["signal"]) for line in lines_of(worker, "process.exited")]
        scenario.send(60)
        scenario.wait(lambda: scenario.rows(IN_FLIGHT), what="work in flight")
        worker.stop(signal.SIGKILL)
        scenario.fired["kills of the supervisor"] += 1
        scenario.wait(lambda: not any(map(runs, pids(worker).values())), 30, "processes that have ended")
        scenario.killed.add(worker)
        worker.kill()
        in_doubt = scenario.rows(IN_FLIGHT)
        scenario.start(WORKER__PROCESSES="2")
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 240}
        assert [name for _, name in exits] == ["SIGKILL"] * 6
        assert in_doubt <= CONCURRENCY
