"""Wall clocks that are set while there is work in flight: T4."""

from __future__ import annotations

import signal
import struct
from typing import TYPE_CHECKING

import pytest

from tests.faults.rig import CONCURRENCY, IN_FLIGHT, is_frozen

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.conftest import MakeRig, Preloaded
    from tests.faults.rig import Rig

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


def _has_noticed(rig: Rig) -> bool:
    return all("clock.set" in worker.logs for worker in rig.workers)


def test_a_clock_set_ahead_during_a_call_has_nobody_take_the_call_for_lost(
    make_rig: MakeRig, wall_clock: WallClock
) -> None:
    settings = {"CPAAS__READ_TIMEOUT": "4", "CPAAS__TOTAL_TIMEOUT": "4", "WORKER__LEASE": "6"}
    with make_rig("T4, set ahead by 20 s during a call", seed=204, **settings) as rig:
        for _ in range(2):
            rig.start(env=wall_clock.env)
        # Taken late, and shown later: by the clock that is set both leases and settle windows are over before.
        late = {"name": "accept-late", "seconds": 3}
        made = [rig.command(late) for _ in range(4)]
        bodies = [body for _, body in made]
        rig.publish(bodies)
        rig.wait(lambda: rig.rows(IN_FLIGHT), what="calls in flight")
        wall_clock.set(AHEAD)
        rig.fired["clocks set"] = 2
        rig.wait(lambda: _has_noticed(rig), what="workers that notice")
        # Whoever gets these meets the claims of calls that are under way.
        rig.crashed = True
        rig.publish(bodies)
        verdict = rig.kept()

        assert verdict.outcomes == {"sent": 4}


@pytest.mark.parametrize("ahead", [DAY, -DAY, YEARS, -YEARS])
def test_by_a_clock_that_is_wrong_nothing_is_sent_until_it_is_right(
    make_rig: MakeRig, wall_clock: WallClock, ahead: int
) -> None:
    with make_rig(f"T4, set {ahead / DAY:+.0f} days, and back", seed=205) as rig:
        for _ in range(2):
            rig.start(env=wall_clock.env)
        rig.send(20)
        rig.wait_told()
        rig.send(4, fault={"name": "accept-drop"})
        rig.send(4, fault={"name": "accept-hang"})
        rig.wait(lambda: rig.rows(IN_FLIGHT), what="calls in flight")
        wall_clock.set(ahead)
        rig.fired["clocks set"] = 2
        rig.wait(lambda: _has_noticed(rig), what="workers that notice")
        tokens, accepted = rig.provider.stats()["token_requests"], rig.accepted
        rig.send(40)
        rig.wait(
            lambda: "our clock and the provider's differ" in rig.running.admin("/readyz")[1], what="a reason"
        )

        assert rig.accepted <= accepted + 2 * CONCURRENCY, "each caller learns it from an answer"
        wall_clock.set(0)
        rig.fired["clocks set right"] = 2
        rig.resumes()
        verdict = rig.kept(within=90)

        assert verdict.outcomes == {"sent": 68}
        assert rig.provider.stats()["token_requests"] == tokens, (
            "a token's life is no matter of the wall clock"
        )


@pytest.mark.parametrize("ahead", [DAY, -YEARS])
def test_workers_that_share_a_server_go_by_its_time_whatever_their_own_is(
    make_rig: MakeRig, wall_clock: WallClock, postgresql_url: str, ahead: int
) -> None:
    with make_rig(
        f"T4, one of two workers off by {ahead / DAY:+.0f} days", seed=206, ledger=postgresql_url
    ) as rig:
        rig.start()
        wall_clock.set(ahead)
        rig.start(env=wall_clock.env)
        rig.send(30, fault={"name": "accept-drop"})
        rig.wait(lambda: rig.rows(IN_FLIGHT), what="calls in flight")
        wall_clock.set(0)
        rig.fired["clocks set"] = 2
        rig.send(100)
        verdict = rig.kept(within=90)

        assert verdict.outcomes == {"sent": 130}
        assert not any("clock.set" in worker.logs for worker in rig.workers)


@pytest.mark.parametrize("ahead", [DAY, -DAY, YEARS, -YEARS])
def test_a_clock_that_is_set_in_one_of_two_workers_stops_that_one_alone(
    make_rig: MakeRig, wall_clock: WallClock, ahead: int
) -> None:
    with make_rig(f"T4, one of two set {ahead / DAY:+.0f} days, and back", seed=207) as rig:
        right, wrong = rig.start(), rig.start(env=wall_clock.env)
        rig.send(20)
        rig.wait_told()
        tokens = rig.provider.stats()["token_requests"]
        rig.provider.settings(latency=0.3)
        rig.send(2, fault={"name": "accept-drop"})
        rig.send(2, fault={"name": "drop"})
        rig.send(80)
        rig.wait(lambda: rig.rows("state = 'doubtful'") and rig.rows("state = 'attempting'"), what="both")
        rig.fired["claims in flight"] = rig.rows("state = 'attempting'")
        rig.fired["in doubt"] = rig.rows("state = 'doubtful'")
        wall_clock.set(ahead)
        rig.wait(lambda: "clock.set" in wrong.logs, what="a worker that notices")
        rig.fired["clocks set"] = 1
        # What the other found out may be told twice.
        rig.crashed = True
        rig.send(40)
        rig.wait(lambda: wrong.admin("/readyz")[0] == 503, 30, "a worker that sends nothing")
        before = rig.accepted
        rig.send(40)
        rig.wait(lambda: rig.accepted >= before + 30, what="the other, which goes on")

        assert right.admin("/readyz")[0] == 200
        assert "clock.set" not in right.logs
        wall_clock.set(0)
        verdict = rig.kept(within=90)

        assert verdict.outcomes == {"sent": 184}
        assert rig.provider.stats()["token_requests"] == tokens


def test_a_clock_set_ahead_in_one_worker_takes_nothing_from_another_that_is_slow_to_call(
    make_rig: MakeRig, wall_clock: WallClock
) -> None:
    # The provider's clock gives nothing away, and the claim is as good as it was.
    settings = {"WORKER__LEASE": "40", "RECONCILE__SKEW": "60"}
    with make_rig("T4, one of two set ahead by 45 s before the other's call", seed=208, **settings) as rig:
        calling = rig.start(failpoint="claimed:freeze")
        body = rig.command()[1]
        rig.publish([body])
        rig.wait(
            lambda: rig.rows(IN_FLIGHT) and is_frozen(calling), what="a claim whose call is still to come"
        )
        rig.fired["claims in flight"] = 1
        wrong = rig.start(env=wall_clock.env)
        rig.publish([body])
        rig.crashed = True
        wall_clock.set(45)
        rig.wait(lambda: "clock.set" in wrong.logs, what="a worker that notices")
        rig.fired["clocks set"] = 1
        with pytest.raises(AssertionError):
            rig.wait(lambda: rig.provider.stats()["sends"], within=6)

        assert rig.rows("state = 'attempting'") == 1
        calling.send_signal(signal.SIGCONT)
        rig.wait(rig.is_quiet, 90, "an end")
        verdict = rig.kept()

        assert verdict.outcomes == {"sent": 1}
        assert rig.provider.stats()["sends"] == 1
