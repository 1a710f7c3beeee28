"""`bridge ledger`: shows and maintains the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bridge.cli.exits import Exit
from bridge.cli.invocation import Invocation, config_option, json_option, pass_invocation
from bridge.cli.moments import DAY
from bridge.cli.output import write_json, write_line
from bridge.cli.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from bridge.settings import Settings

_NOT_KNOWN = "The ledger knows no command of this id."


@click.group()
def ledger() -> None:
    """Show and maintain the ledger."""


@ledger.command()
@click.argument("command_id", metavar="[ID]", required=False)
@json_option
@config_option
@pass_invocation
def show(invocation: Invocation, *, command_id: str | None, as_json: bool) -> int:
    """Print the record of the command ID, or a summary of all commands.

    A command has a record once a worker has started it. Exit 1 if there is no record; exit 75 if the command may
    still be on the queue.
    """
    from bridge.app.ledger import show_command, show_ledger

    settings = invocation.settings()
    if command_id is None:
        shown = invocation.use(show_ledger)(settings)
        _write(shown, _summary, as_json=as_json)
        return Exit.DONE
    found = invocation.use(show_command)(settings, command_id)
    _write(found, _command, as_json=as_json)
    return Exit.DONE if found is not None else _unknown(invocation, settings)


@ledger.command()
@click.option(
    "--before",
    "days",
    metavar="DAYS",
    type=click.FloatRange(min=0, min_open=True),
    help="Delete records that ended more than DAYS ago. Default: ledger.retention.",
)
@click.option("--dry-run", is_flag=True, help="Only print how many records would be deleted.")
@json_option
@config_option
@pass_invocation
def prune(invocation: Invocation, *, days: float | None, dry_run: bool, as_json: bool) -> None:
    """Delete old commands that have no unfinished messages. Workers do this once an hour.

    A command whose id was deleted is sent again. Records that ended within the last day or within retry.max_age are
    kept, because the broker may redeliver them. Notifications of that age are deleted too; ingests also do this.
    """
    from bridge.app.ledger import prune_ledger

    settings = invocation.settings()
    least = settings.shortest_retention / DAY
    if days is not None and days < least:
        raise click.BadParameter(f"must be at least {least:g}", param_hint="--before")
    with progress("commands") as commands:
        number = invocation.use(prune_ledger)(settings, days=days, dry_run=dry_run, progress=commands)
    if as_json:
        write_json({"commands": number, "dry_run": dry_run})
    else:
        write_line(f"{number} commands {'would be ' if dry_run else ''}deleted")


@ledger.command()
@json_option
@config_option
@pass_invocation
def migrate(invocation: Invocation, *, as_json: bool) -> None:
    """Create the ledger, or migrate it to this version. A process that opens it does the same."""
    from bridge.app.ledger import migrate_ledger

    settings = invocation.settings()
    with progress("migrating"):
        before, revision = invocation.use(migrate_ledger)(settings)
    if as_json:
        write_json({"before": before, "revision": revision})
    elif before == revision:
        write_line(f"the ledger has revision {revision} already")
    else:
        write_line(f"the ledger has revision {revision} now; before: {before or 'none'}")


@ledger.command()
@json_option
@config_option
@pass_invocation
def adopt(invocation: Invocation, *, as_json: bool) -> None:
    """Bind the configured ledger to the command queue, in place of a lost one.

    Stop all workers first. Use it also to return to an old primary. The bridge then looks commands up before it sends
    them: redeliveries for retry.max_age, and commands without a record for ledger.restored_lookup.
    """
    from bridge.app.ledger import adopt_ledger

    identity = invocation.use(adopt_ledger)(invocation.settings())
    if as_json:
        write_json({"identity": identity})
    else:
        write_line(f"the command queue has the ledger {identity} now")


def _unknown(invocation: Invocation, settings: Settings) -> Exit:
    """Print why the ledger may not know a command, and what to do; return the exit code."""
    from bridge.app.oneshot import waiting_commands

    queue, waiting = settings.broker.command_queue, invocation.use(waiting_commands)(settings)
    if waiting == 0:
        where = f"No command waits on {queue}: it was not published there, was deleted after ledger.retention, or "
        write_line(f"{_NOT_KNOWN} {where}has just reached a worker.", err=True)
        return Exit.FAILED
    if waiting is None:
        where = f"It may still be on {queue}; how many commands wait there is not known: the broker can't be asked."
    else:
        where = f"It may be one of the {waiting} commands that wait on {queue}; AMQP does not show which they are."
    write_line(f"{_NOT_KNOWN} {where} Ask again once the queue is shorter.", err=True)
    return Exit.LATER


def _write(
    shown: Mapping[str, Any] | None,
    lines: Callable[[Mapping[str, Any]], Iterable[str]],
    *,
    as_json: bool,
) -> None:
    if as_json:
        write_json(shown)
    for line in [] if as_json or shown is None else lines(shown):
        write_line(line)


def _summary(shown: Mapping[str, Any]) -> Iterator[str]:
    for name, value in shown.items():
        if isinstance(value, dict):
            yield from (f"{name} {state}: {number}" for state, number in value.items())
        else:
            yield f"{name}: {'-' if value is None else value}"


def _command(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the command's line, then a line for each submission with its known fields."""
    submissions = found["submissions"]
    yield " ".join(f"{name}={value}" for name, value in found.items() if name != "submissions")
    for submission in submissions:
        known = (f"{name}={value}" for name, value in submission.items() if value is not None)
        yield f"  {' '.join(known)}"
