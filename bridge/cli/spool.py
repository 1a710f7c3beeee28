"""`bridge spool`: recovers events from the damaged files that an ingest has quarantined."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.cli.exits import Exit
from bridge.cli.invocation import Invocation, config_option, json_option, pass_invocation
from bridge.cli.output import write_json, write_line
from bridge.cli.progress import progress


@click.group()
def spool() -> None:
    """Recover the events of a damaged spool."""


@spool.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@json_option
@config_option
@pass_invocation
def recover(invocation: Invocation, *, file: Path, as_json: bool) -> int:
    """Publish each event that can be read from FILE, a damaged file that an ingest has quarantined.

    The ingest may run. FILE is then renamed to FILE.recovered: delete that once you do not need it any more. Exit 1 if
    some events could not be read: FILE is then renamed to FILE.partly-recovered, or keeps its name if none could. If
    the command is interrupted, run it again. It may publish an event that was published before: consumers drop repeats
    by the event's id.
    """
    from bridge.app.spool import recover_spool

    with progress("events") as events:
        recovered = invocation.use(recover_spool)(invocation.settings(), file, progress=events)
    if as_json:
        write_json({**recovered._asdict(), "file": str(recovered.file)})
    else:
        write_line(
            f"{recovered.published} events published, {recovered.unreadable} could not be read: {recovered.file}"
        )
    if recovered.unreadable:
        write_line(
            f"`sqlite3 {recovered.file} .recover` may read more; `bridge catch-up` reads the history",
            err=True,
        )
    return Exit.FAILED if recovered.unreadable else Exit.DONE
