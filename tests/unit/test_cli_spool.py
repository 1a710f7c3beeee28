"""`bridge spool recover`: calls, output and exit codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bridge.app.spool import Recovered
from tests.unit.test_cli import FakeUseCases, run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    path = tmp_path / "damaged-2026-01-31T09-30-00Z.sqlite3"
    path.touch()
    return path


def test_recovered_events_are_counted_and_exit_0(damaged: Path) -> None:
    use_cases = FakeUseCases(Recovered(7, 0))
    plain = run("spool", "recover", str(damaged), use_cases=use_cases)
    as_json = run("spool", "recover", str(damaged), "--json", use_cases=use_cases)

    assert (plain.exit_code, plain.stdout) == (0, "7 events published, 0 could not be read\n")
    assert json.loads(as_json.stdout) == {"published": 7, "unreadable": 0}
    assert use_cases.asked[0] == (
        "recover_spool",
        (damaged, damaged.with_name("damaged-2026-01-31T09-30-00Z.sqlite3.recovered")),
    )


def test_unreadable_events_exit_1_with_a_hint(damaged: Path) -> None:
    result = run("spool", "recover", str(damaged), use_cases=FakeUseCases(Recovered(7, 2)))

    assert (result.exit_code, result.stdout) == (1, "7 events published, 2 could not be read\n")
    assert f"`sqlite3 {damaged}.recovered .recover`" in result.stderr


def test_recovered_file_is_empty(damaged: Path) -> None:
    damaged.rename(f"{damaged}.recovered")
    use_cases = FakeUseCases()
    result = run("spool", "recover", str(damaged), use_cases=use_cases)

    assert (result.exit_code, use_cases.asked) == (0, [])
    assert "nothing is left" in result.stderr


@pytest.mark.parametrize("name", ["missing.sqlite3", "events.sqlite3"])
def test_missing_file_and_the_file_in_use_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "events.sqlite3").touch()

    assert run("spool", "recover", str(tmp_path / name)).exit_code == 2


def test_broker_that_is_not_reachable_exits_69(damaged: Path) -> None:
    assert (
        run("spool", "recover", str(damaged), use_cases=FakeUseCases(ConnectionError("gone"))).exit_code == 69
    )
