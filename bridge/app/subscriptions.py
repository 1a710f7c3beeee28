"""Factory of the declared subscriptions and of their reconciler, from the settings."""

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
    """Return the channels and subscriptions that the configuration declares.

    Raises:
        SettingsError: no webhook is configured, or a number can't be converted to E.164.

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
        # A number that the provider spells differently would be subscribed to at every check.
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
    """Return the subscription reconciler; None if `subscriptions.keep` is off.

    Raises:
        SettingsError: no account is configured, or the declared subscriptions are invalid.

    """
    if not settings.subscriptions.keep:
        return None
    # Here only: an ingest without the reconciler needs no client of the provider.
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
