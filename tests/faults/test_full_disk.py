"""The broker's own disk is really full: B10."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.faults.stack import IN_FLIGHT
from tests.harness.broker import Broker
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.conftest import MakeScenario

pytestmark = [pytest.mark.broker, pytest.mark.acceptance, pytest.mark.long]

#: Bytes of the disk that the broker has for its queues.
DISK = 96 * 2**20


@pytest.fixture
def small_broker() -> Iterator[Broker]:
    """Run a broker on a small separate disk."""
    broker = Broker()
    disk = broker.home / "mnesia"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        broker.stop()
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        broker.start()
        # Its alarm would come before the disk is full; that is B4.
        broker.ctl("set_disk_free_limit", "1")
        yield broker
    finally:
        if broker.running:
            broker.kill(settle=False)
        subprocess.run(["umount", disk], check=True)
        broker.stop()


def _fill(path: Path) -> int:
    """Write until nothing more fits; returns how many bytes did."""
    done = subprocess.run(
        ["dd", "if=/dev/zero", f"of={path}", "bs=4k"], env={"LC_ALL": "C"}, capture_output=True, check=False
    )

    assert b"No space left" in done.stderr
    return path.stat().st_size


def test_broker_whose_disk_is_full_loses_nothing_that_it_confirmed(
    make_scenario: MakeScenario, small_broker: Broker
) -> None:
    with make_scenario("B10, the broker's disk is full", seed=310, broker=small_broker) as scenario:
        scenario.start()
        small_broker.settle()
        scenario.send(60)
        filler = small_broker.home / "mnesia" / "filler"
        scenario.send_in_background([scenario.command()[1] for _ in range(200)])
        scenario.wait(lambda: scenario.rows(IN_FLIGHT), what="calls in flight")
        scenario.fired["bytes of filler"] = _fill(filler)
        scenario.crashed = True
        # It confirms no message that it cannot write, so publishing stalls.
        wait_until(
            lambda: "enospc" in small_broker.log.read_text(),
            within=60,
            what="a full disk in the broker's log",
        )
        scenario.fired["disks full"] = 1
        filler.unlink()
        if small_broker.running:
            small_broker.kill(settle=False)
        small_broker.start()
        scenario.resumes()
        verdict = scenario.kept(within=120)

        assert verdict.outcomes == {"sent": 260}
