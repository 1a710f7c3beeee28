"""`bridge simulator`: serves a simulation of the provider's API."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.cli.invocation import Invocation, config_option, pass_invocation


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8090,
    show_default=True,
    help="The port; 0 lets the system choose.",
)
@click.option("--journal", type=click.Path(path_type=Path), help="Keep accepted sends in this file.")
@click.option(
    "--number",
    "numbers",
    multiple=True,
    help="A number of the account; repeatable, the first is the default.",
)
@click.option("--external-webhooks", is_flag=True, help="Also post to webhooks on other machines.")
@config_option
@pass_invocation
def simulator(
    invocation: Invocation,
    *,
    host: str,
    port: int,
    journal: Path | None,
    numbers: tuple[str, ...],
    external_webhooks: bool,
) -> int:
    """Simulate the provider's API in memory, for trials and tests."""
    from bridge.app.simulator import run_simulator

    return invocation.use(run_simulator)(
        invocation.settings(),
        host=host,
        port=port,
        journal=journal,
        numbers=numbers,
        external_webhooks=external_webhooks,
    )
