"""`bridge doctor`: checks everything that the bridge needs, and names the action for each problem."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bridge.cli.exits import Exit
from bridge.cli.invocation import Invocation, config_option, json_option, pass_invocation
from bridge.cli.output import write_json, write_line, write_styled

if TYPE_CHECKING:
    from bridge.ops.examination import CheckReport

PROCESSES = ("worker", "ingest")

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "skipped": "white"}


@click.command()
@click.option(
    "--for",
    "process",
    type=click.Choice(PROCESSES),
    help="Check the broker permissions of this process only.",
)
@json_option
@config_option
@pass_invocation
def doctor(invocation: Invocation, *, process: str | None, as_json: bool) -> int:
    """Check everything that the bridge needs, and name the action for each problem.

    It checks configuration, broker, permissions, ledger, disks, account, clock, subscriptions and webhook, and sends,
    consumes and changes nothing. Exit 1 if a check fails. Warnings do not change the exit code.
    """
    from bridge.app.doctor import examine_all
    from bridge.settings.hosts import configured_hosts

    settings = invocation.settings()
    hosts = configured_hosts(settings)
    rows = []
    for report in invocation.use(examine_all)(settings, PROCESSES if process is None else (process,)):
        rows.append(_row(report, hosts))
        if not as_json:
            _print_row(rows[-1])
    if as_json:
        write_json(rows)
    else:
        write_line(_summary([str(row["level"]) for row in rows]))
    return Exit.FAILED if any(row["level"] == "fail" for row in rows) else Exit.DONE


def _summary(levels: list[str]) -> str:
    warnings, skipped = levels.count("warn"), levels.count("skipped")
    counts = [
        f"{levels.count('ok')} ok",
        f"{warnings} warning{'s' * (warnings != 1)}",
        f"{levels.count('fail')} failed",
        *([f"{skipped} skipped"] if skipped else []),
    ]
    return ", ".join(counts)


def _row(report: CheckReport, hosts: frozenset[str]) -> dict[str, str | None]:
    from bridge.domain.masks import mask_numbers

    check_result = report.check_result
    return {
        "check": report.check,
        "level": check_result.level.value,
        # An error's text may be of a library or of the provider.
        "seen": mask_numbers(check_result.seen, hosts=hosts),
        "advice": check_result.advice,
    }


def _print_row(row: dict[str, str | None]) -> None:
    level = str(row["level"])
    write_styled(f"{level:<8}", f"{row['check']:<14} {row['seen']}", colour=_COLOURS[level])
    if row["advice"] is not None:
        write_line(f"{'':<23}-> {row['advice']}")
