"""`bridge spool`: recovers events from the damaged files that an ingest has quarantined."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.cli.exits import Exit
from bridge.cli.invocation import Invocation, config_option, json_option, pass_invocation
from bridge.cli.output import write_json, write_line
from bridge.cli.progress import progress

#: The end of the name of a recovered file.
RECOVERED = ".recovered"


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

    Exit 1 if some events could not be read. The ingest may run. FILE is then renamed to FILE.recovered: delete that
    once you do not need it any more. If the command is interrupted, run it again. It may publish an event that was
    published before: consumers drop repeats by the event's id.
    """
    from bridge.adapters.spool.sqlite import NAME
    from bridge.app.spool import Recovered, recover_spool

    moved_to = file.with_name(file.name + RECOVERED)
    if file.name == NAME:
        raise click.BadParameter("an ingest publishes this file by itself", param_hint="FILE")
    if file.exists():
        with progress("events") as events:
            recovered = invocation.use(recover_spool)(
                invocation.settings(), file, moved_to=moved_to, progress=events
            )
    elif moved_to.exists():
        recovered = Recovered(0, 0)
        write_line(f"nothing is left: {file} was recovered, and is {moved_to} now", err=True)
    else:
        raise click.BadParameter(f"there is no {file}", param_hint="FILE")
    if as_json:
        write_json(recovered._asdict())
    else:
        write_line(f"{recovered.published} events published, {recovered.unreadable} could not be read")
    if recovered.unreadable:
        write_line(
            f"`sqlite3 {moved_to} .recover` may read more; `bridge catch-up` reads the history", err=True
        )
    return Exit.FAILED if recovered.unreadable else Exit.DONE
