"""`bridge subscriptions`: shows and changes the account's subscriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bridge.cli.exits import Failed
from bridge.cli.invocation import Invocation, config_option, json_option, pass_invocation
from bridge.cli.output import write_rows
from bridge.cli.progress import progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.domain.notification_channels import Subscription
    from bridge.domain.subscription_plan import Step
    from bridge.ports import Notifying
    from bridge.settings import Settings


#: The columns of the tables and their usual widths.
_COLUMNS = {"id": 36, "destination_address": 16, "notify": 0}
_STEP_COLUMNS = {"action": 7, "what": 12, "id": 36, "destination_address": 16, "reason": 0}


@click.group()
def subscriptions() -> None:
    """Show and change the account's subscriptions."""


@subscriptions.command("list")
@json_option
@config_option
@pass_invocation
def list_(invocation: Invocation, *, as_json: bool) -> None:
    """Print every subscription: its id, its number and its notification channel."""
    from bridge.app.oneshot import cpaas_client

    _write(invocation.use(cpaas_client)(invocation.settings()).subscriptions.list(), as_json=as_json)


@subscriptions.command()
@click.option("--dry-run", is_flag=True, help="Only print the changes.")
@click.option(
    "--prune", is_flag=True, help="Delete what the bridge created and the configuration no longer asks for."
)
@json_option
@config_option
@pass_invocation
def sync(invocation: Invocation, *, dry_run: bool, prune: bool, as_json: bool) -> None:
    """Create and delete channels and subscriptions as configured, and print each with the action.

    Only those with our cpaas.correlator are used or deleted. Duplicates are always deleted. With --prune, a channel
    without the first value of ingest.authorization is replaced too.
    """
    from bridge.app.oneshot import cpaas_client
    from bridge.app.subscriptions import declared_subscriptions
    from bridge.domain.subscription_plan import plan
    from bridge.jobs import subscriptions

    settings = invocation.settings()
    declared = invocation.use(declared_subscriptions)(settings)
    client = invocation.use(cpaas_client)(settings)
    if dry_run:
        steps = plan(declared, subscriptions.read_state(client), prune=prune)
    else:
        with progress("steps") as taken:
            steps = subscriptions.sync(client, declared, prune=prune, progress=taken)
    _write_steps(steps, as_json=as_json)
    failed = sum(step.action == "fail" for step in steps)
    if failed:
        raise Failed(f"{failed} of {len(steps)} steps failed")


@subscriptions.command()
@click.argument("number", required=False)
@click.option("--notify", metavar="CALLBACK", help="The callback of an existing channel: wh-...")
@json_option
@config_option
@pass_invocation
def create(invocation: Invocation, *, number: str | None, notify: str | None, as_json: bool) -> None:
    """Subscribe to the messages of NUMBER, or of the account's default number.

    The channel that posts to subscriptions.webhook_url is notified; it is created if it is missing.
    """
    from bridge.app.oneshot import cpaas_client

    settings = invocation.settings()
    client = invocation.use(cpaas_client)(settings)
    made = client.subscriptions.create(
        notify=notify or _callback(invocation, client, settings), number=number
    )
    _write([made], as_json=as_json)


@subscriptions.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@config_option
@pass_invocation
def delete(invocation: Invocation, *, ids: tuple[str, ...]) -> None:
    """Delete subscriptions. Deleting a missing one succeeds."""
    from bridge.app.oneshot import cpaas_client

    client = invocation.use(cpaas_client)(invocation.settings())
    for subscription_id in ids:
        client.subscriptions.delete(subscription_id)


def _callback(invocation: Invocation, client: Notifying, settings: Settings) -> str:
    """Return the callback of the channel to the configured webhook."""
    from bridge.app.subscriptions import declared_subscriptions
    from bridge.jobs import subscriptions

    if settings.subscriptions.webhook_url is None:
        raise click.UsageError("give --notify, or configure subscriptions.webhook_url")
    declared = invocation.use(declared_subscriptions)(settings)
    return subscriptions.channel_of(client, declared, client.channels.list()).callback


def _write(found: Sequence[Subscription], *, as_json: bool) -> None:
    rows = [
        {"id": one.id, "destination_address": one.destination_address, "notify": one.notify} for one in found
    ]
    write_rows(rows, _COLUMNS, as_json=as_json)


def _write_steps(steps: Sequence[Step], *, as_json: bool) -> None:
    rows = [
        {
            "action": step.action,
            "what": step.what,
            "id": step.id,
            "destination_address": step.number,
            "reason": step.why,
        }
        for step in steps
    ]
    write_rows(rows, _STEP_COLUMNS, as_json=as_json)
