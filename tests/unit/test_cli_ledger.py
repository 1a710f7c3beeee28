"""`bridge ledger`: calls, output and exit codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from bridge.cli import main
from bridge.cli.invocation import Invocation
from bridge.ports import LedgerUnavailable, LedgerUnusable
from tests.unit.test_cli import FakeUseCases, run

if TYPE_CHECKING:
    from pathlib import Path

SUMMARY = {
    "identity": "abc",
    "revision": "0001",
    "lineage": None,
    "restored_at": None,
    "commands": 3,
    "submissions": {"attempting": 1, "sent": 2},
    "oldest_open_at": "2026-01-01T00:00:00.000Z",
}
COMMAND = {
    "id": "c1",
    "version": 0,
    "submissions": [{"index": 0, "state": "sent", "attempts": 1, "retry_at": None, "message_id": "m-1"}],
}


def test_ledger_is_shown_as_lines_or_as_json() -> None:
    plain = run("ledger", "show", use_cases=FakeUseCases(SUMMARY))
    as_json = run("ledger", "show", "--json", use_cases=FakeUseCases(SUMMARY))

    assert plain.stdout.splitlines() == [
        "identity: abc",
        "revision: 0001",
        "lineage: -",
        "restored_at: -",
        "commands: 3",
        "submissions attempting: 1",
        "submissions sent: 2",
        "oldest_open_at: 2026-01-01T00:00:00.000Z",
    ]
    assert json.loads(as_json.stdout) == SUMMARY


def test_command_is_shown_with_its_submissions() -> None:
    use_cases = FakeUseCases(COMMAND)
    plain = run("ledger", "show", "c1", use_cases=use_cases)
    as_json = run("ledger", "show", "c1", "--json", use_cases=use_cases)

    assert use_cases.asked[0] == ("show_command", ("c1",))
    assert plain.stdout.splitlines() == [
        "id=c1 version=0",
        "  index=0 state=sent attempts=1 message_id=m-1",
    ]
    assert json.loads(as_json.stdout) == COMMAND


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize(
    ("waiting", "code", "said"),
    [
        (0, 1, "No command waits on sms.send"),
        (12, 75, "one of the 12 commands that wait on sms.send"),
        (None, 75, "the broker can't be asked"),
    ],
)
def test_unknown_command_may_still_be_on_the_queue(
    options: list[str], waiting: int | None, code: int, said: str
) -> None:
    use_cases = FakeUseCases(None)
    use_cases.waiting = waiting
    result = run("ledger", "show", "c1", *options, use_cases=use_cases)

    assert result.exit_code == code
    assert result.stdout == ("null\n" if options else "")
    assert said in result.stderr


@pytest.mark.parametrize(
    ("arguments", "asked", "confirmed"),
    [
        ([], (None, False), "7 commands deleted"),
        (["--before", "30"], (30.0, False), "7 commands deleted"),
        (["--before", "1.5", "--dry-run"], (1.5, True), "7 commands would be deleted"),
    ],
)
def test_pruning_takes_days_and_says_how_many(arguments: list[str], asked: object, confirmed: str) -> None:
    use_cases = FakeUseCases(7)
    result = run("ledger", "prune", *arguments, use_cases=use_cases)

    assert use_cases.asked == [("prune_ledger", asked)]
    assert result.stdout == f"{confirmed}\n"
    assert json.loads(run("ledger", "prune", "--json", use_cases=use_cases).stdout) == {
        "commands": 7,
        "dry_run": False,
    }


@pytest.mark.parametrize("days", ["0", "-1", "soon", "0.99"])
def test_pruning_takes_no_other_days(days: str) -> None:
    use_cases = FakeUseCases(0)

    assert run("ledger", "prune", "--before", days, use_cases=use_cases).exit_code == 2
    assert use_cases.asked == []


def test_pruning_leaves_commands_that_may_be_retried() -> None:
    environ = {"BRIDGE_RETRY__MAX_AGE": str(3 * 86400)}
    refused, done = (
        run("ledger", "prune", "--before", days, use_cases=FakeUseCases(7), environ=environ) for days in "23"
    )

    assert (refused.exit_code, done.exit_code) == (2, 0)
    assert "--before: must be at least 3" in refused.stderr


@pytest.mark.parametrize(
    ("before", "confirmed"),
    [
        (None, "the ledger has revision 0002 now; before: none"),
        ("0001", "the ledger has revision 0002 now; before: 0001"),
        ("0002", "the ledger has revision 0002 already"),
    ],
)
def test_migration_prints_both_versions(before: str | None, confirmed: str) -> None:
    assert run("ledger", "migrate", use_cases=FakeUseCases((before, "0002"))).stdout == f"{confirmed}\n"


def test_adoption_prints_the_new_ledger_of_the_queue() -> None:
    assert "ledger abc now" in run("ledger", "adopt", use_cases=FakeUseCases("abc")).stdout
    assert json.loads(run("ledger", "adopt", "--json", use_cases=FakeUseCases("abc")).stdout) == {
        "identity": "abc"
    }


@pytest.mark.parametrize("command", ["show", "prune", "migrate", "adopt"])
@pytest.mark.parametrize(
    ("error", "code"), [(LedgerUnavailable("locked"), 69), (LedgerUnusable("revision 9999"), 78)]
)
def test_unusable_ledger_is_reported_by_the_exit_code(command: str, error: Exception, code: int) -> None:
    result = run("ledger", command, use_cases=FakeUseCases(error))

    assert result.exit_code == code
    assert str(error) in result.stderr
    assert ("ledger.url" in result.stderr) == (code == 69)


def test_missing_ledger_is_not_created_by_status_or_prune(tmp_path: Path) -> None:
    environ = {"BRIDGE_LEDGER__URL": f"sqlite:///{tmp_path}/ledger.db"}
    codes = [
        CliRunner().invoke(main, ["ledger", *arguments], obj=Invocation(environ=environ)).exit_code
        for arguments in (["show"], ["show", "c1"], ["prune"], ["prune", "--dry-run"])
    ]

    assert codes == [69] * 4
    assert list(tmp_path.iterdir()) == []
