"""`bridge spool recover`: calls, output and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bridge.app.spool import Recovered
from bridge.cli.invocation import Invocation
from bridge.cli.main import main
from tests.unit.test_cli import FakeUseCases, run

NAME = "damaged-2026-01-31T09-30-00Z.sqlite3"


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    path = tmp_path / NAME
    path.write_bytes(b"no database")
    return path


def recover(path: Path) -> Result:
    """Run the command itself; no broker is configured."""
    return CliRunner().invoke(main, ["spool", "recover", str(path)], obj=Invocation(None, {}))


def test_recovered_events_are_counted_and_exit_0() -> None:
    use_cases = FakeUseCases(Recovered(7, 0, Path(f"{NAME}.recovered")))
    plain = run("spool", "recover", NAME, use_cases=use_cases)
    as_json = run("spool", "recover", NAME, "--json", use_cases=use_cases)

    assert (plain.exit_code, plain.stdout) == (
        0,
        f"7 events published, 0 could not be read: {NAME}.recovered\n",
    )
    assert json.loads(as_json.stdout) == {"published": 7, "unreadable": 0, "file": f"{NAME}.recovered"}
    assert use_cases.asked[0] == ("recover_spool", (Path(NAME),))


def test_unreadable_events_exit_1_with_a_hint() -> None:
    use_cases = FakeUseCases(Recovered(7, 2, Path(f"{NAME}.partly-recovered")))
    result = run("spool", "recover", NAME, use_cases=use_cases)

    assert (result.exit_code, result.stdout) == (
        1,
        f"7 events published, 2 could not be read: {NAME}.partly-recovered\n",
    )
    assert f"`sqlite3 {NAME}.partly-recovered .recover`" in result.stderr


@pytest.mark.parametrize(("end", "code"), [(".recovered", 0), (".partly-recovered", 1)])
def test_file_is_published_once(damaged: Path, end: str, code: int) -> None:
    damaged.rename(f"{damaged}{end}")
    result = recover(damaged)

    assert (result.exit_code, "0 events published" in result.stdout) == (code, True)
    assert Path(f"{damaged}{end}").exists()


@pytest.mark.parametrize(
    "name",
    [
        "events.sqlite3",
        "ledger.sqlite3",
        "lock",
        "damaged-1.sqlite3.recovered",
        "damaged-a-directory.sqlite3",
    ],
)
def test_file_that_no_ingest_has_quarantined_is_refused_and_keeps_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.mkdir() if "directory" in name else path.write_bytes(b"something")
    result = recover(path)

    assert result.exit_code in {1, 2}
    assert [left.name for left in tmp_path.iterdir()] == [name]


def test_link_to_the_file_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "events.sqlite3").write_bytes(b"something")
    (tmp_path / NAME).symlink_to(tmp_path / "events.sqlite3")

    assert recover(tmp_path / NAME).exit_code == 1
    assert (tmp_path / "events.sqlite3").exists()


def test_missing_file_is_named(tmp_path: Path) -> None:
    result = recover(tmp_path / NAME)

    assert (result.exit_code, f"there is no {tmp_path / NAME}" in result.stderr) == (1, True)


def test_another_file_with_the_new_name_is_not_replaced(damaged: Path) -> None:
    other = damaged.with_name(f"{NAME}.recovered")
    other.write_bytes(b"another file")
    result = recover(damaged)

    assert (result.exit_code, "exists already" in result.stderr) == (1, True)
    assert (damaged.exists(), other.read_bytes()) == (True, b"another file")


def test_broker_that_is_not_reachable_exits_69() -> None:
    assert run("spool", "recover", NAME, use_cases=FakeUseCases(ConnectionError("gone"))).exit_code == 69
