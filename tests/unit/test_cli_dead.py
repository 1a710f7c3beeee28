"""`bridge dead`: calls, output and exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from bridge.cli import main
from bridge.cli.invocation import Invocation
from bridge.domain.dead_letters import DeadLetter, DeadLetterFilter
from bridge.domain.messages import Delivery
from tests.unit.test_cli import FakeUseCases, cells

if TYPE_CHECKING:
    from click.testing import Result

LETTER = DeadLetter(
    delivery=Delivery(body=b"{}", tag=(0, 1)),
    outcome="failed",
    reason="no route to +16131234567",
    command_id="one",
    index=0,
    attempts=2,
    event_id="e-1",
    dead_at=1_800_000_000.0,
    sender="+16139998877",
    destinations=("+16131234567",),
    message="canary",
)


def run(use_cases: FakeUseCases, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["dead", *arguments], obj=Invocation(use_cases, {}))


def test_line_for_each_letter_hides_numbers() -> None:
    result = run(FakeUseCases([LETTER]), "list")

    header, row = cells(result)

    assert header[:6] == ["DEAD_AT", "OUTCOME", "COMMAND", "ATTEMPTS", "SENDER", "DESTINATION"]
    assert row[:6] == ["2027-01-15T08:00:00.000Z", "failed", "one[0]", "2", "***8877", "***4567"]
    assert row[6:] == ["e-1", "no", "route", "to", "***4567"]


def test_full_numbers_are_listed_when_requested() -> None:
    plain = run(FakeUseCases([LETTER]), "list", "--full")
    (row,) = json.loads(run(FakeUseCases([LETTER]), "list", "--full", "--json").stdout)

    assert cells(plain)[1][4:6] == ["+16139998877", "+16131234567"]
    assert (row["sender_address"], row["destination_address"]) == ("+16139998877", ["+16131234567"])


@pytest.mark.parametrize("letters", [[], [LETTER], [LETTER, LETTER]])
def test_json_output_is_one_array_for_any_number_of_letters(letters: list[DeadLetter]) -> None:
    result = run(FakeUseCases(letters), "list", "--json")

    assert [letter["event_id"] for letter in json.loads(result.stdout)] == ["e-1"] * len(letters)
    assert "canary" not in result.output


def test_selection_options_are_passed_on() -> None:
    use_cases = FakeUseCases([LETTER])
    options = ["--outcome", "failed", "--reason", "SVC", "--sender", "tel:+1-613-999-8877", "--limit", "3"]
    times = ["--since", "2026-01-01T00:00:00Z", "--before", "2026-01-02T00:00:00+00:00"]
    run(use_cases, "replay", "e-1", "--id", "one", "--resend", *options, *times)

    wanted = DeadLetterFilter(
        outcomes=("failed",),
        reasons=("SVC",),
        senders=("+16139998877",),
        ids=("one", "e-1"),
        since=1_767_225_600.0,
        before=1_767_312_000.0,
        limit=3,
    )
    assert use_cases.asked == [("replay_dead", (wanted, True))]


def test_dry_run_changes_nothing() -> None:
    use_cases = FakeUseCases([LETTER])

    assert run(use_cases, "replay", "--all", "--dry-run").exit_code == 0
    assert run(use_cases, "purge", "--all", "--dry-run").exit_code == 0
    assert {what for what, _ in use_cases.asked} == {"dead_letters"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("purge",),
        ("purge", "--yes"),
        ("purge", "--all"),
        ("replay",),
        ("replay", "--yes"),
        ("replay", "--dry-run"),
        ("replay", "--resend"),
        ("list", "--sender", "nobody"),
        ("list", "--since", "yesterday"),
        ("list", "--since", "2026-01-01T00:00:00"),
        ("list", "--outcome", "sent"),
        ("show",),
    ],
)
def test_ambiguous_selection_is_refused_and_nothing_is_done(arguments: tuple[str, ...]) -> None:
    use_cases = FakeUseCases([LETTER])

    assert run(use_cases, *arguments).exit_code == 2
    assert use_cases.asked == []


@pytest.mark.parametrize("which", [("--all",), ("e-1",), ("--outcome", "failed"), ("--limit", "1")])
def test_replay_that_needs_no_confirmation_is_done(which: tuple[str, ...]) -> None:
    use_cases = FakeUseCases([LETTER])

    assert run(use_cases, "replay", *which).exit_code == 0
    assert [what for what, _ in use_cases.asked] == ["replay_dead"]


def test_code_of_the_provider_is_shown_with_its_meaning() -> None:
    result = run(FakeUseCases([replace(LETTER, reason="SVC0002")]), "show", "e-1")

    assert "SVC0002: invalid input value for a message part" in result.stdout


def test_shown_command_cannot_control_the_terminal() -> None:
    letter = replace(LETTER, delivery=Delivery(body=b"\x1b[2J\xc2\x9b2J", tag=(0, 1)))
    result = run(FakeUseCases([letter]), "show", "e-1", "--full")

    assert "[2J" in result.stdout
    assert result.stdout.replace("\n", "").isprintable()


def test_unknown_id_is_a_failure() -> None:
    assert run(FakeUseCases([LETTER]), "replay", "e-1", "e-2").exit_code == 1
    assert run(FakeUseCases([LETTER]), "purge", "e-1", "--yes").exit_code == 0
    assert run(FakeUseCases([]), "show", "e-1").exit_code == 1
