"""A ledger that is locked, full or gone, and a log that is full: D1 to D3."""

from __future__ import annotations

import contextlib
import errno
import resource
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.rig import CONCURRENCY, IN_FLIGHT

if TYPE_CHECKING:
    from tests.faults.conftest import MakeRig, Preloaded

pytestmark = [pytest.mark.broker, pytest.mark.acceptance, pytest.mark.long]


def _file(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def test_while_the_ledger_is_locked_nothing_is_called(make_rig: MakeRig) -> None:
    with make_rig("D1, ledger locked for 8 s", seed=501) as rig:
        worker = rig.start()
        rig.send(10)
        rig.wait_told()
        with contextlib.closing(sqlite3.connect(_file(rig.ledger), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            rig.send(30)
            before = rig.accepted
            rig.wait(lambda: "ledger.unavailable" in worker.logs, 30, "a worker without its ledger")
            rig.fired["commits refused"] += 1

            assert rig.accepted == before
            assert worker.admin("/readyz")[0] == 503
            other.execute("ROLLBACK")
        verdict = rig.kept()

        assert verdict.outcomes == {"sent": 40}


def test_while_the_disk_is_full_nothing_is_called(make_rig: MakeRig) -> None:
    with make_rig("D1, no byte more for the ledger", seed=502) as rig:
        worker = rig.start()
        rig.send(10)
        rig.wait_told()
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        before = rig.accepted
        rig.send(60)
        rig.wait(lambda: worker.admin("/readyz")[0] == 503, 30, "a worker without its ledger")
        held = rig.accepted
        with pytest.raises(AssertionError):
            rig.wait(lambda: rig.accepted > held, within=3)
        rig.fired["commits refused"] += 1

        # Each accepted send had its claim in the ledger, though the answers could not be filed.
        assert held - before <= rig.rows("state IN ('attempting', 'doubtful', 'sent')")
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        rig.crashed = True
        verdict = rig.kept()

        assert verdict.outcomes == {"sent": 70}


@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS, errno.ENOSPC], ids=errno.errorcode.get)
def test_while_the_ledger_takes_no_write_nothing_is_called(
    make_rig: MakeRig, preloaded: Preloaded, error: int
) -> None:
    with make_rig(f"D1, every write of the ledger fails, {errno.errorcode[error]}", seed=505) as rig:
        flag, hits = rig.directory / "flag", rig.directory / "flag.hits"
        worker = rig.start(
            env={
                "LD_PRELOAD": str(preloaded("failing_disk")),
                "FAILING_FLAG": str(flag),
                "FAILING_PATH": "ledger.sqlite3",
            }
        )
        rig.send(10)
        rig.wait_told()
        rig.provider.settings(latency=0.3)
        rig.send(60)
        rig.wait(lambda: rig.accepted >= 10 + CONCURRENCY and rig.rows(IN_FLIGHT), what="calls in flight")
        flag.with_name("making").write_text(str(error))
        flag.with_name("making").rename(flag)
        rig.fired["claims in flight"] = rig.rows(IN_FLIGHT)
        rig.wait(lambda: worker.admin("/readyz")[0] == 503, 30, "a worker without its ledger")
        rig.wait(lambda: "ledger.unavailable" in worker.logs, what="a word of it")
        held = rig.accepted
        with pytest.raises(AssertionError):
            rig.wait(lambda: rig.accepted > held, within=3)
        rig.fired["writes failed"] = len(hits.read_bytes())

        # Each call had its claim on the disk, though its answer could not be filed.
        assert held <= rig.rows("state IN ('attempting', 'doubtful', 'sent')")
        assert worker.returncode is None
        flag.unlink()
        # What was answered just then may outlive its claim: another look finds it.
        rig.crashed = True
        rig.resumes()
        verdict = rig.kept()

        assert verdict.outcomes == {"sent": 70}


def test_a_ledger_that_is_gone_stops_the_worker_and_nothing_is_sent_blind(make_rig: MakeRig) -> None:
    with make_rig("D2, ledger deleted", seed=503) as rig:
        worker = rig.start()
        rig.send(10)
        rig.wait_told()
        rig.wait(lambda: rig.queued() == 0, what="the acks")
        rig.kill(worker)
        for part in rig.directory.glob("ledger.sqlite3*"):
            part.rename(part.with_name(f"lost-{part.name}"))
        rig.send(5)
        refused = rig.start(ready=False)

        assert refused.wait() == 78
        assert rig.accepted == 10
        rig.fired["ledgers lost"] += 1
        rig.killed.add(refused)
        refused.kill()
        for part in rig.directory.glob("ledger.sqlite3*"):
            part.unlink()
        for part in rig.directory.glob("lost-ledger.sqlite3*"):
            part.rename(part.with_name(part.name.removeprefix("lost-")))
        rig.start()
        verdict = rig.kept()

        assert verdict.outcomes == {"sent": 15}


def test_a_ledger_that_goes_under_a_running_worker_ends_it_and_once_it_is_back_nothing_is_twice(
    make_rig: MakeRig,
) -> None:
    with make_rig("D2, ledger moved away from under a worker", seed=506) as rig:
        worker = rig.start()
        rig.send(10)
        rig.wait_told()
        for part in rig.directory.glob("ledger.sqlite3*"):
            part.rename(part.with_name(f"lost-{part.name}"))
        rig.fired["ledgers lost"] += 1

        # It has nothing to do, and notices all the same.
        assert worker.wait() == 78
        assert "removed or replaced" in worker.logs
        rig.killed.add(worker)
        worker.kill()
        rig.send(5)
        assert rig.accepted == 10
        for part in rig.directory.glob("lost-ledger.sqlite3*"):
            part.rename(part.with_name(part.name.removeprefix("lost-")))
        rig.start()
        verdict = rig.kept()

        assert verdict.outcomes == {"sent": 15}


def test_a_log_that_takes_no_byte_stops_nothing(make_rig: MakeRig) -> None:
    with make_rig("D3, the log's disk is full", seed=504) as rig:
        log = rig.directory / "worker-0" / "stderr"
        log.parent.mkdir()
        log.symlink_to("/dev/full")
        worker = rig.start(ready=False)
        log.unlink()
        log.touch()
        worker.wait_ready()
        rig.fired["full logs"] = 1
        rig.send(20)
        verdict = rig.kept()

        assert verdict.outcomes == {"sent": 20}
