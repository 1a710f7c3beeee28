"""A ledger that is locked, full or gone, and a log that is full: D1 to D3."""

from __future__ import annotations

import contextlib
import errno
import resource
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.stack import CONCURRENCY, IN_FLIGHT

if TYPE_CHECKING:
    from tests.faults.conftest import MakeScenario, Preloaded

pytestmark = [pytest.mark.broker, pytest.mark.acceptance, pytest.mark.long]


def _file(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def test_while_the_ledger_is_locked_nothing_is_called(make_scenario: MakeScenario) -> None:
    with make_scenario("D1, ledger locked for 8 s", seed=501) as scenario:
        worker = scenario.start()
        scenario.send(10)
        scenario.wait_confirmed()
        with contextlib.closing(sqlite3.connect(_file(scenario.ledger), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            scenario.send(30)
            before = scenario.accepted
            scenario.wait(lambda: "ledger.unavailable" in worker.logs, 30, "a worker without its ledger")
            scenario.fired["commits refused"] += 1

            assert scenario.accepted == before
            assert worker.admin("/readyz")[0] == 503
            other.execute("ROLLBACK")
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 40}


def test_while_the_disk_is_full_nothing_is_called(make_scenario: MakeScenario) -> None:
    with make_scenario("D1, no byte more for the ledger", seed=502) as scenario:
        worker = scenario.start()
        scenario.send(10)
        scenario.wait_confirmed()
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        before = scenario.accepted
        scenario.send(60)
        scenario.wait(lambda: worker.admin("/readyz")[0] == 503, 30, "a worker without its ledger")
        held = scenario.accepted
        with pytest.raises(AssertionError):
            scenario.wait(lambda: scenario.accepted > held, within=3)
        scenario.fired["commits refused"] += 1

        # Each accepted send had its claim in the ledger, though the answers could not be recorded.
        assert held - before <= scenario.rows("state IN ('attempting', 'in_doubt', 'sent')")
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        scenario.crashed = True
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 70}


@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS, errno.ENOSPC], ids=errno.errorcode.get)
def test_while_the_ledger_takes_no_write_nothing_is_called(
    make_scenario: MakeScenario, preloaded: Preloaded, error: int
) -> None:
    with make_scenario(
        f"D1, every write of the ledger fails, {errno.errorcode[error]}", seed=505
    ) as scenario:
        flag, hits = scenario.directory / "flag", scenario.directory / "flag.hits"
        worker = scenario.start(
            env={
                "LD_PRELOAD": str(preloaded("failing_disk")),
                "FAILING_FLAG": str(flag),
                "FAILING_PATH": "ledger.sqlite3",
            }
        )
        scenario.send(10)
        scenario.wait_confirmed()
        scenario.provider.settings(latency=0.3)
        scenario.send(60)
        scenario.wait(
            lambda: scenario.accepted >= 10 + CONCURRENCY and scenario.rows(IN_FLIGHT), what="calls in flight"
        )
        flag.with_name("making").write_text(str(error))
        flag.with_name("making").rename(flag)
        scenario.fired["claims in flight"] = scenario.rows(IN_FLIGHT)
        scenario.wait(lambda: worker.admin("/readyz")[0] == 503, 30, "a worker without its ledger")
        scenario.wait(lambda: "ledger.unavailable" in worker.logs, what="a word of it")
        held = scenario.accepted
        with pytest.raises(AssertionError):
            scenario.wait(lambda: scenario.accepted > held, within=3)
        scenario.fired["writes failed"] = len(hits.read_bytes())

        # Each call had its claim on the disk, though its answer could not be recorded.
        assert held <= scenario.rows("state IN ('attempting', 'in_doubt', 'sent')")
        assert worker.returncode is None
        flag.unlink()
        # A message answered just then may outlive its claim: the next history lookup finds it.
        scenario.crashed = True
        scenario.resumes()
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 70}


def test_missing_ledger_stops_the_worker_and_nothing_is_sent(
    make_scenario: MakeScenario,
) -> None:
    with make_scenario("D2, ledger deleted", seed=503) as scenario:
        worker = scenario.start()
        scenario.send(10)
        scenario.wait_confirmed()
        scenario.wait(lambda: scenario.queued() == 0, what="the acks")
        scenario.kill(worker)
        for part in scenario.directory.glob("ledger.sqlite3*"):
            part.rename(part.with_name(f"lost-{part.name}"))
        scenario.send(5)
        refused = scenario.start(ready=False)

        assert refused.wait() == 78
        assert scenario.accepted == 10
        scenario.fired["ledgers lost"] += 1
        scenario.killed.add(refused)
        refused.kill()
        for part in scenario.directory.glob("ledger.sqlite3*"):
            part.unlink()
        for part in scenario.directory.glob("lost-ledger.sqlite3*"):
            part.rename(part.with_name(part.name.removeprefix("lost-")))
        scenario.start()
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 15}


def test_worker_ends_when_its_ledger_vanishes_and_sends_nothing_twice_when_it_returns(
    make_scenario: MakeScenario,
) -> None:
    with make_scenario("D2, ledger moved away from under a worker", seed=506) as scenario:
        worker = scenario.start()
        scenario.send(10)
        scenario.wait_confirmed()
        for part in scenario.directory.glob("ledger.sqlite3*"):
            part.rename(part.with_name(f"lost-{part.name}"))
        scenario.fired["ledgers lost"] += 1

        # It has nothing to do, and notices all the same.
        assert worker.wait() == 78
        assert "removed or replaced" in worker.logs
        scenario.killed.add(worker)
        worker.kill()
        scenario.send(5)
        assert scenario.accepted == 10
        for part in scenario.directory.glob("lost-ledger.sqlite3*"):
            part.rename(part.with_name(part.name.removeprefix("lost-")))
        scenario.start()
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 15}


def test_unwritable_log_stops_nothing(make_scenario: MakeScenario) -> None:
    with make_scenario("D3, the log's disk is full", seed=504) as scenario:
        log = scenario.directory / "worker-0" / "stderr"
        log.parent.mkdir()
        log.symlink_to("/dev/full")
        worker = scenario.start(ready=False)
        log.unlink()
        log.touch()
        worker.wait_ready()
        scenario.fired["full logs"] = 1
        scenario.send(20)
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 20}
