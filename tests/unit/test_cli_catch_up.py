"""`bridge catch-up`: calls, output and exit codes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bridge.jobs.backfill import Caught
from bridge.ports import LedgerUnavailable
from tests.unit.test_cli import FakeUseCases, run

CAUGHT = Caught(threads=3, incomplete=0, unreadable=0, recovered=2, refused=0, undated=0)


def test_recovered_messages_are_reported_as_text_or_json() -> None:
    plain = run("catch-up", use_cases=FakeUseCases(CAUGHT))
    dry = run("catch-up", "--dry-run", use_cases=FakeUseCases(CAUGHT))
    as_json = run("catch-up", "--json", use_cases=FakeUseCases(CAUGHT))

    assert (plain.exit_code, plain.stdout) == (0, "2 messages recovered; 3 threads read\n")
    assert dry.stdout == "2 messages would be recovered; 3 threads read\n"
    assert json.loads(as_json.stdout) == {
        "threads": 3,
        "incomplete": 0,
        "unreadable": 0,
        "recovered": 2,
        "refused": 0,
        "young": 0,
        "undated": 0,
        "dry_run": False,
    }


@pytest.mark.parametrize("left", ["incomplete", "unreadable", "refused"])
def test_incomplete_backfill_is_reported_and_exits_75(left: str) -> None:
    result = run("catch-up", use_cases=FakeUseCases(replace(CAUGHT, **{left: 1})))

    assert result.exit_code == 75
    assert f"{left}: 1" in result.stderr


def test_messages_of_the_last_minute_are_reported_and_exit_0() -> None:
    result = run("catch-up", use_cases=FakeUseCases(replace(CAUGHT, young=2)))

    assert result.exit_code == 0
    assert "young: 2, of the last 60 s" in result.stderr
    assert "--since" in result.stderr


def test_since_option_sets_the_start_time() -> None:
    use_cases = FakeUseCases(CAUGHT)
    run("catch-up", "--since", "2026-01-31T09:30:00Z", "--dry-run", use_cases=use_cases)

    assert use_cases.asked == [("run_catch_up", (1769851800.0, True))]
    assert run("catch-up", "--since", "yesterday", use_cases=use_cases).exit_code == 2


def test_unavailable_ledger_exits_69() -> None:
    assert run("catch-up", use_cases=FakeUseCases(LedgerUnavailable("locked"))).exit_code == 69
