"""Wall clocks that are set while there is work in flight: T4."""

from __future__ import annotations

import signal
import struct
from typing import TYPE_CHECKING

import pytest

from tests.faults.stack import CONCURRENCY, IN_FLIGHT, is_frozen

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.conftest import MakeScenario, Preloaded
    from tests.faults.scenario import Scenario

pytestmark = [pytest.mark.broker, pytest.mark.acceptance, pytest.mark.long]

DAY = 86_400
YEARS = 3650 * DAY
#: More than a lease and a settle window together, and less than the provider's clock may be off.
AHEAD = 20


class WallClock:
    """The wall clock of the processes that it is given to. The clocks that count from a start are left alone."""

    def __init__(self, directory: Path, library: Path) -> None:
        self._file = directory / "wall-clock"
        self._file.write_bytes(_ahead(0))
        self.env = {"LD_PRELOAD": str(library), "CLOCK_AHEAD": str(self._file)}

    def set(self, ahead: int) -> None:
        """Set it, so many seconds ahead of the right time."""
        # In its place: it is mapped.
        with self._file.open("r+b") as held:
            held.write(_ahead(ahead))


def _ahead(seconds: int) -> bytes:
    return struct.pack("=q", seconds * 1_000_000_000)


@pytest.fixture
def wall_clock(tmp_path: Path, preloaded: Preloaded) -> WallClock:
    """Return a clock that can be set."""
    return WallClock(tmp_path, preloaded("set_clock"))


def _has_noticed(scenario: Scenario) -> bool:
    return all("clock.set" in worker.logs for worker in scenario.workers)


def test_clock_set_ahead_during_a_call_does_not_make_the_call_count_as_lost(
    make_scenario: MakeScenario, wall_clock: WallClock
) -> None:
    settings = {"CPAAS__READ_TIMEOUT": "4", "CPAAS__TOTAL_TIMEOUT": "4", "WORKER__LEASE": "6"}
    with make_scenario("T4, set ahead by 20 s during a call", seed=204, **settings) as scenario:
        for _ in range(2):
            scenario.start(env=wall_clock.env)
        # Taken late, and shown later: by the clock that is set both leases and settle windows are over before.
        late = {"name": "accept-late", "seconds": 3}
        made = [scenario.command(late) for _ in range(4)]
        bodies = [body for _, body in made]
        scenario.publish(bodies)
        scenario.wait(lambda: scenario.rows(IN_FLIGHT), what="calls in flight")
        wall_clock.set(AHEAD)
        scenario.fired["clocks set"] = 2
        scenario.wait(lambda: _has_noticed(scenario), what="workers that notice")
        # The worker that gets these meets the claims of calls in flight.
        scenario.crashed = True
        scenario.publish(bodies)
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 4}


@pytest.mark.parametrize("ahead", [DAY, -DAY, YEARS, -YEARS])
def test_nothing_is_sent_while_the_clock_is_wrong(
    make_scenario: MakeScenario, wall_clock: WallClock, ahead: int
) -> None:
    with make_scenario(f"T4, set {ahead / DAY:+.0f} days, and back", seed=205) as scenario:
        for _ in range(2):
            scenario.start(env=wall_clock.env)
        scenario.send(20)
        scenario.wait_confirmed()
        scenario.send(4, fault={"name": "accept-drop"})
        scenario.send(4, fault={"name": "accept-hang"})
        scenario.wait(lambda: scenario.rows(IN_FLIGHT), what="calls in flight")
        wall_clock.set(ahead)
        scenario.fired["clocks set"] = 2
        scenario.wait(lambda: _has_noticed(scenario), what="workers that notice")
        tokens, accepted = scenario.provider.stats()["token_requests"], scenario.accepted
        scenario.send(40)
        scenario.wait(
            lambda: "our clock and the provider's differ" in scenario.running.admin("/readyz")[1],
            what="a reason",
        )

        assert scenario.accepted <= accepted + 2 * CONCURRENCY, "each caller learns it from an answer"
        wall_clock.set(0)
        scenario.fired["clocks set right"] = 2
        scenario.resumes()
        verdict = scenario.kept(within=90)

        assert verdict.outcomes == {"sent": 68}
        assert scenario.provider.stats()["token_requests"] == tokens, (
            "a token's life is no matter of the wall clock"
        )


@pytest.mark.parametrize("ahead", [DAY, -YEARS])
def test_workers_that_share_a_database_server_use_its_time_and_not_their_own(
    make_scenario: MakeScenario, wall_clock: WallClock, postgresql_url: str, ahead: int
) -> None:
    with make_scenario(
        f"T4, one of two workers off by {ahead / DAY:+.0f} days", seed=206, ledger=postgresql_url
    ) as scenario:
        scenario.start()
        wall_clock.set(ahead)
        scenario.start(env=wall_clock.env)
        scenario.send(30, fault={"name": "accept-drop"})
        scenario.wait(lambda: scenario.rows(IN_FLIGHT), what="calls in flight")
        wall_clock.set(0)
        scenario.fired["clocks set"] = 2
        scenario.send(100)
        verdict = scenario.kept(within=90)

        assert verdict.outcomes == {"sent": 130}
        assert not any("clock.set" in worker.logs for worker in scenario.workers)


@pytest.mark.parametrize("ahead", [DAY, -DAY, YEARS, -YEARS])
def test_clock_step_in_one_of_two_workers_stops_that_one_only(
    make_scenario: MakeScenario, wall_clock: WallClock, ahead: int
) -> None:
    with make_scenario(f"T4, one of two set {ahead / DAY:+.0f} days, and back", seed=207) as scenario:
        right, wrong = scenario.start(), scenario.start(env=wall_clock.env)
        scenario.send(20)
        scenario.wait_confirmed()
        tokens = scenario.provider.stats()["token_requests"]
        scenario.provider.settings(latency=0.3)
        scenario.send(2, fault={"name": "accept-drop"})
        scenario.send(2, fault={"name": "drop"})
        scenario.send(80)
        scenario.wait(
            lambda: scenario.rows("state = 'in_doubt'") and scenario.rows("state = 'attempting'"), what="both"
        )
        scenario.fired["claims in flight"] = scenario.rows("state = 'attempting'")
        scenario.fired["in doubt"] = scenario.rows("state = 'in_doubt'")
        wall_clock.set(ahead)
        scenario.wait(lambda: "clock.set" in wrong.logs, what="a worker that notices")
        scenario.fired["clocks set"] = 1
        # The other worker's result may be published twice.
        scenario.crashed = True
        scenario.send(40)
        scenario.wait(lambda: wrong.admin("/readyz")[0] == 503, 30, "a worker that sends nothing")
        before = scenario.accepted
        scenario.send(40)
        scenario.wait(lambda: scenario.accepted >= before + 30, what="the other, which goes on")

        assert right.admin("/readyz")[0] == 200
        assert "clock.set" not in right.logs
        wall_clock.set(0)
        verdict = scenario.kept(within=90)

        assert verdict.outcomes == {"sent": 184}
        assert scenario.provider.stats()["token_requests"] == tokens


def test_clock_set_ahead_in_one_worker_takes_no_claim_from_a_slow_one(
    make_scenario: MakeScenario, wall_clock: WallClock
) -> None:
    # The provider's clock gives nothing away, and the claim is as good as it was.
    settings = {"WORKER__LEASE": "40", "RECONCILE__SKEW": "60"}
    with make_scenario(
        "T4, one of two set ahead by 45 s before the other's call", seed=208, **settings
    ) as scenario:
        calling = scenario.start(failpoint="claimed:freeze")
        body = scenario.command()[1]
        scenario.publish([body])
        scenario.wait(
            lambda: scenario.rows(IN_FLIGHT) and is_frozen(calling),
            what="a claim whose call is still to come",
        )
        scenario.fired["claims in flight"] = 1
        wrong = scenario.start(env=wall_clock.env)
        scenario.publish([body])
        scenario.crashed = True
        wall_clock.set(45)
        scenario.wait(lambda: "clock.set" in wrong.logs, what="a worker that notices")
        scenario.fired["clocks set"] = 1
        with pytest.raises(AssertionError):
            scenario.wait(lambda: scenario.provider.stats()["sends"], within=6)

        assert scenario.rows("state = 'attempting'") == 1
        calling.send_signal(signal.SIGCONT)
        scenario.wait(scenario.is_idle, 90, "an end")
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 1}
        assert scenario.provider.stats()["sends"] == 1
