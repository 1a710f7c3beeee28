"""`bridge subscriptions`: which messages the provider tells us of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from bridge.cli.invocation import Invocation, config_option, json_option, pass_invocation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.cli.wiring import ProviderClient, Subscription
    from bridge.settings import Settings


@click.group()
def subscriptions() -> None:
    """Look at the account's subscriptions and change them."""


@subscriptions.command("list")
@json_option
@config_option
@pass_invocation
def list_(invocation: Invocation, *, as_json: bool) -> None:
    """Print every subscription: its id, its number and the channel that is told."""
    _write(invocation.wiring.cpaas_client(invocation.settings()).subscriptions.list(), as_json=as_json)


@subscriptions.command()
@click.argument("number", required=False)
@click.option("--notify", metavar="CALLBACK", help="The callback of a channel that is there: wh-...")
@json_option
@config_option
@pass_invocation
def create(invocation: Invocation, *, number: str | None, notify: str, as_json: bool) -> None:
    """Subscribe to the messages of NUMBER, or of the account's default number.

    Told is the channel that posts to subscriptions.webhook_url, made where there is none.
    """
    settings = invocation.settings()
    client = invocation.wiring.cpaas_client(settings)
    made = client.subscriptions.create(notify=notify or _callback(client, settings), number=number)
    _write([made], as_json=as_json)


@subscriptions.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@config_option
@pass_invocation
def delete(invocation: Invocation, *, ids: tuple[str, ...]) -> None:
    """Delete subscriptions; one that is not there is deleted already."""
    client = invocation.wiring.cpaas_client(invocation.settings())
    for subscription_id in ids:
        client.subscriptions.delete(subscription_id)


def _callback(client: ProviderClient, settings: Settings) -> str:
    """Return the callback of the channel to the configured webhook, with the authorization the ingest asks for."""
    webhook_url = settings.subscriptions.webhook_url
    if webhook_url is None:
        raise click.UsageError("give --notify, or configure subscriptions.webhook_url")
    accepted = settings.ingest.authorization
    authorization = accepted[0].get_secret_value() if accepted else None
    for channel in client.channels.list():
        if (channel.webhook_url, channel.authorization) == (webhook_url, authorization):
            return channel.callback
    return client.channels.create(webhook_url=webhook_url, authorization=authorization).callback


def _write(found: Sequence[Subscription], *, as_json: bool) -> None:
    rows = [
        {"id": one.id, "destination_address": one.destination_address, "notify": one.notify} for one in found
    ]
    if as_json:
        click.echo(json.dumps(rows))
    for row in [] if as_json else rows:
        click.echo(" ".join(value or "-" for value in row.values()))
