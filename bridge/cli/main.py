"""The `bridge` command and its groups."""

from __future__ import annotations

import click

from bridge.cli.catch_up import catch_up
from bridge.cli.completion import completion
from bridge.cli.config import config
from bridge.cli.dead import dead
from bridge.cli.doctor import doctor
from bridge.cli.events import events
from bridge.cli.exits import ExitCodes
from bridge.cli.history import history
from bridge.cli.invocation import config_option
from bridge.cli.ledger import ledger
from bridge.cli.run import ingest, up, worker
from bridge.cli.schema import schema
from bridge.cli.send import send
from bridge.cli.simulator import simulator
from bridge.cli.spool import spool
from bridge.cli.subscriptions import subscriptions
from bridge.cli.topology import topology


@click.group(
    cls=ExitCodes, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="sms-bridge", prog_name="bridge")
@config_option
def main() -> None:
    """Send SMS commands from RabbitMQ through the Kandy CPaaS API, and turn its webhooks into events.

    \b
    Exit codes: 0 done (also after SIGTERM), 1 failed, 2 usage, 69 a needed service is not reachable,
    75 try again later, 78 configuration.
    """  # noqa: D301 - click's marker against rewrapping


@main.result_callback()
@click.pass_context
def _exit(context: click.Context, code: int | None) -> None:
    """Exit with the code that the command returned."""
    context.exit(code or 0)


for command in (
    up,
    worker,
    ingest,
    send,
    events,
    dead,
    subscriptions,
    history,
    catch_up,
    ledger,
    spool,
    topology,
    config,
    schema,
    doctor,
    simulator,
    completion,
):
    main.add_command(command)
