"""From settings to what the provider is to notify us of, and to what keeps it so."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from bridge.app.required import require
from bridge.domain.addresses import parse_address
from bridge.domain.errors import InvalidAddress
from bridge.domain.subscription_plan import Declared
from bridge.jobs.subscription_reconciler import SubscriptionReconciler
from bridge.settings import SettingProblem, SettingsError

if TYPE_CHECKING:
    from bridge.ops.metrics import Metrics
    from bridge.ports import Clock
    from bridge.settings import Settings


def declared_subscriptions(settings: Settings) -> Declared:
    """Return what the provider is to notify us of.

    Raises:
        SettingsError: no webhook is configured, or a number can't be told in E.164.

    """
    subscriptions, region = settings.subscriptions, settings.addresses.default_region
    webhook, problems = subscriptions.webhook_url, []
    if webhook is None:
        problems.append(
            SettingProblem(
                "subscriptions.webhook_url", "is missing: where does the provider reach the ingest?"
            )
        )
    numbers = [_e164(number, region) for number in subscriptions.numbers]
    if None in numbers:
        # A number that the provider writes in another way would be subscribed to again and again.
        problems.append(
            SettingProblem(
                "subscriptions.numbers", "must be +E.164, or national with addresses.default_region"
            )
        )
    if problems:
        raise SettingsError(problems)
    return Declared(
        correlator=settings.cpaas.correlator,
        webhook_url="" if webhook is None else webhook.get_secret_value(),
        authorizations=tuple(secret.get_secret_value() for secret in settings.ingest.authorization),
        numbers=tuple(dict.fromkeys(number for number in numbers if number is not None)),
    )


def make_watch(settings: Settings, metrics: Metrics, clock: Clock) -> SubscriptionReconciler | None:
    """Return what keeps the subscriptions; None where configuration does not ask for it.

    Raises:
        SettingsError: it does, and there is no account, or it can't be told what to keep.

    """
    if not settings.subscriptions.keep:
        return None
    # Not at the top: an ingest that keeps none needs no client of the provider.
    from bridge.app import command_client

    require(settings, account=True)
    client = command_client.client(command_client.account(settings), settings, clock, threading.Event())
    declared, interval = declared_subscriptions(settings), settings.subscriptions.check_interval
    return SubscriptionReconciler(client, declared, interval=interval, metrics=metrics)


def _e164(number: str, region: str | None) -> str | None:
    try:
        return parse_address(number, default_region=region).e164
    except InvalidAddress:
        return None
