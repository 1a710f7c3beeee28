"""The commands that run until they are stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bridge.cli.invocation import Invocation, config_option, pass_invocation

if TYPE_CHECKING:
    from collections.abc import Callable


def _listens(what: str) -> Callable[[click.decorators.FC], click.decorators.FC]:
    """Add `--host` and `--port` to a command that listens for `what`."""

    def decorate(command: click.decorators.FC) -> click.decorators.FC:
        command = click.option("--port", type=int, help=f"The port for {what}; 0 lets the system choose.")(
            command
        )
        return click.option("--host", help=f"The address to listen on for {what}.")(command)

    return decorate


@click.command()
@_listens("notifications")
@config_option
@pass_invocation
def up(invocation: Invocation, host: str | None, port: int | None) -> int:
    """Run a worker and an ingest in one process.

    If neither a broker nor an account is configured, it starts its own broker and a simulated provider.
    """
    from bridge.app.up import run_up

    return invocation.use(run_up)(invocation.settings(ingest__host=host, ingest__port=port))


@click.command()
@_listens("health and metrics")
@config_option
@pass_invocation
def worker(invocation: Invocation, host: str | None, port: int | None) -> int:
    """Take commands from the queue and send them."""
    from bridge.app.workers import run_worker

    return invocation.use(run_worker)(invocation.settings(admin__host=host, admin__port=port))


@click.command()
@_listens("notifications")
@config_option
@pass_invocation
def ingest(invocation: Invocation, host: str | None, port: int | None) -> int:
    """Take the provider's notifications and publish them as events."""
    from bridge.app.ingest import run_ingest

    return invocation.use(run_ingest)(invocation.settings(ingest__host=host, ingest__port=port))
