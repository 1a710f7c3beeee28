"""Wall clocks that are set while there is work in flight: T4."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.rig import IN_FLIGHT

if TYPE_CHECKING:
    from tests.faults.conftest import MakeRig
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
        self._library = library
        self.set(0)

    @property
    def env(self) -> dict[str, str]:
        """What a process has to be started with."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, ahead: int) -> None:
        """Set it, so many seconds ahead of the right time."""
        written = self._file.with_suffix(".new")
        written.write_text(f"{ahead:+d}\n")
        written.rename(self._file)


@pytest.fixture
def wall_clock(tmp_path: Path) -> WallClock:
    """Return a clock that can be set."""
    for library in Path("/usr/lib").glob("*/faketime/libfaketime.so.1"):
        return WallClock(tmp_path, library)
    if "CI" in os.environ:
        pytest.fail("libfaketime is missing: scripts/install-faketime")
    pytest.skip("libfaketime is missing: scripts/install-faketime")


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

        assert rig.accepted <= accepted + 8, "what was under way may arrive"
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
