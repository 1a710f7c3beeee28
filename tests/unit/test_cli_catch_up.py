"""`bridge catch-up`: what it asks for, what it prints, how it exits."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bridge.jobs.backfill import Caught
from bridge.ports import LedgerUnavailable
from tests.unit.test_cli import FakeUseCases, run

CAUGHT = Caught(threads=3, incomplete=0, unread=0, recovered=2, refused=0, undated=0)


def test_it_says_what_it_recovered_in_words_or_as_json() -> None:
    plain = run("catch-up", use_cases=FakeUseCases(CAUGHT))
    dry = run("catch-up", "--dry-run", use_cases=FakeUseCases(CAUGHT))
    as_json = run("catch-up", "--json", use_cases=FakeUseCases(CAUGHT))

    assert (plain.exit_code, plain.stdout) == (0, "2 messages recovered; 3 threads read\n")
    assert dry.stdout == "2 messages would be recovered; 3 threads read\n"
    assert json.loads(as_json.stdout) == {
        "threads": 3,
        "incomplete": 0,
        "unread": 0,
        "recovered": 2,
        "refused": 0,
        "young": 0,
        "undated": 0,
        "dry_run": False,
    }


@pytest.mark.parametrize("left", ["incomplete", "unread", "refused"])
def test_what_is_left_to_do_is_said_and_exits_75(left: str) -> None:
    result = run("catch-up", use_cases=FakeUseCases(replace(CAUGHT, **{left: 1})))

    assert result.exit_code == 75
    assert f"{left}: 1" in result.stderr


def test_what_came_just_now_is_said_and_is_no_failure() -> None:
    result = run("catch-up", use_cases=FakeUseCases(replace(CAUGHT, young=2)))

    assert result.exit_code == 0
    assert "young: 2, of the last 60 s" in result.stderr
    assert "--since" in result.stderr


def test_it_takes_a_time_to_begin_at() -> None:
    use_cases = FakeUseCases(CAUGHT)
    run("catch-up", "--since", "2026-01-31T09:30:00Z", "--dry-run", use_cases=use_cases)

    assert use_cases.asked == [("run_catch_up", (1769851800.0, True))]
    assert run("catch-up", "--since", "yesterday", use_cases=use_cases).exit_code == 2


def test_without_a_ledger_nobody_can_tell_what_is_missing() -> None:
    assert run("catch-up", use_cases=FakeUseCases(LedgerUnavailable("locked"))).exit_code == 69
