"""From settings to the values that sending is given: its rules, the account, the provider's client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.adapters.amqp.topology import SEND
from bridge.adapters.cpaas.account import CpaasAccount
from bridge.adapters.cpaas.client import CpaasClient
from bridge.adapters.cpaas.retrying import RetryPolicy
from bridge.bootstrap import parts
from bridge.core.commands import CommandRules
from bridge.core.decide import RetryRules
from bridge.flows.send import Routes, SendRules

if TYPE_CHECKING:
    import threading

    from bridge.ports import Clock
    from bridge.settings import Settings


def send_rules(settings: Settings) -> SendRules:
    """Return what configuration makes of sending."""
    broker = settings.broker
    return SendRules(
        commands=CommandRules(
            allow_missing_id=settings.commands.allow_missing_id,
            max_destinations=settings.commands.max_destinations,
            default_region=settings.addresses.default_region,
            default_sender=settings.cpaas.default_sender,
        ),
        retry=RetryRules(
            max_age=settings.retry.max_age, base=settings.retry.base, max_delay=settings.retry.max_delay
        ),
        style=parts.style(settings),
        routes=Routes(
            commands_exchange=broker.commands_exchange,
            send_key=SEND,
            events_exchange=broker.events_exchange,
            unrouted_queue=broker.unrouted_queue,
            dead_queue=broker.dead_queue,
            own_queues=parts.topology(settings).own_queues,
        ),
        lease=settings.worker.lease,
    )


def account(settings: Settings) -> CpaasAccount:
    """Return the account at the provider; `require` has checked that there is one."""
    cpaas = settings.cpaas
    return CpaasAccount(
        base_url=str(cpaas.base_url),
        client_id=str(cpaas.client_id),
        client_secret=None if cpaas.client_secret is None else cpaas.client_secret.get_secret_value(),
        email=cpaas.email,
        password=None if cpaas.password is None else cpaas.password.get_secret_value(),
        connect_timeout=cpaas.connect_timeout,
        read_timeout=cpaas.read_timeout,
        total_timeout=cpaas.total_timeout,
        idle_timeout=cpaas.idle_timeout,
        max_response_bytes=cpaas.max_response_bytes,
        proxy=None if cpaas.proxy is None else cpaas.proxy.get_secret_value(),
        ca_file=None if cpaas.ca_file is None else str(cpaas.ca_file),
        correlator=cpaas.correlator,
        correlator_mode=cpaas.correlator_mode,
    )


def client(account: CpaasAccount, settings: Settings, clock: Clock, stopping: threading.Event) -> CpaasClient:
    """Return the client of the account; `stopping` cuts its waits short."""
    return CpaasClient(account, clock, RetryPolicy(in_process=settings.retry.in_process), stopping)
