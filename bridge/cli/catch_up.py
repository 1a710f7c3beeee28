"""`bridge catch-up`: publishes messages that no webhook delivered."""

from __future__ import annotations

from dataclasses import asdict

import click

from bridge.cli.exits import Exit
from bridge.cli.invocation import Invocation, config_option, json_option, pass_invocation
from bridge.cli.moments import moment
from bridge.cli.output import write_json, write_line
from bridge.cli.progress import progress
from bridge.domain.backfill import GRACE

#: Explanation of messages that are too young.
YOUNG = (
    "their webhooks may still arrive: the next catch-up publishes the missing ones, one with --since at once"
)


@click.command("catch-up")
@click.option(
    "--since",
    callback=moment,
    metavar="TIME",
    help="Begin at a time, or 15m, 2h, 7d ago. Default: the end of the last catch-up.",
)
@click.option("--dry-run", is_flag=True, help="Only print how many messages would be published.")
@json_option
@config_option
@pass_invocation
def catch_up(invocation: Invocation, *, since: float | None, dry_run: bool, as_json: bool) -> int:
    """Publish inbound messages of the provider's history that no webhook delivered; exit 75 if some are left.

    The ledger knows the delivered ones, so use the ledger of the ingest. Messages of the last minute are left for the
    next run because their webhooks may still arrive, unless `--since` is given.
    """
    from bridge.app.backfill import run_catch_up

    settings = invocation.settings()
    with progress("threads") as threads:
        caught = invocation.use(run_catch_up)(settings, since=since, dry_run=dry_run, progress=threads)
    if as_json:
        write_json({**asdict(caught), "dry_run": dry_run})
    else:
        would = "would be recovered" if dry_run else "recovered"
        write_line(f"{caught.recovered} messages {would}; {caught.threads} threads read")
        left = {name: getattr(caught, name) for name in ("incomplete", "unreadable", "refused", "undated")}
        for what, number in left.items():
            if number:
                write_line(f"{what}: {number}", err=True)
        if caught.young:
            write_line(f"young: {caught.young}, of the last {GRACE:.0f} s; {YOUNG}", err=True)
    return Exit.DONE if caught.whole else Exit.LATER
