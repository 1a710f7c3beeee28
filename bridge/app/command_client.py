"""Factory of the provider's client, the account and the rules for sending, from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.adapters.cpaas.account import CpaasAccount
from bridge.adapters.cpaas.client import CpaasClient
from bridge.adapters.cpaas.retry import RetryPolicy
from bridge.app import parts
from bridge.domain.outcome_messages import SendRules
from bridge.domain.rules import LedgerRules, LimitRules, ReceiptRules, ReconcileRules, RetryRules

if TYPE_CHECKING:
    import threading

    from bridge.ports import Clock, Tracer
    from bridge.settings import Settings


def send_rules(settings: Settings) -> SendRules:
    """Return the rules for sending."""
    return SendRules(
        commands=parts.command_rules(settings),
        style=parts.style(settings),
        names=settings.broker.names,
        ledger=ledger_rules(settings),
    )


def ledger_rules(settings: Settings) -> LedgerRules:
    """Return the rules for decisions about a submission."""
    return LedgerRules(
        lease=settings.worker.lease,
        poison_after=settings.worker.poison_after,
        restored_lookup=settings.ledger.restored_lookup,
        retry=parts.taken_from(settings.retry, RetryRules),
        reconcile=parts.taken_from(settings.reconcile, ReconcileRules),
        limits=parts.taken_from(settings.limits, LimitRules),
        receipts=receipt_rules(settings) if settings.receipts.poll else None,
    )


def loss_matters_for(settings: Settings) -> float:
    """Return for how many seconds after a restore of the ledger possibly lost commands are looked up."""
    return max(settings.retry.max_age, settings.ledger.restored_lookup)


def receipt_rules(settings: Settings) -> ReceiptRules:
    """Return the rules for polling receipts."""
    return parts.taken_from(settings.receipts, ReceiptRules)


def account(settings: Settings) -> CpaasAccount:
    """Return the account at the provider; `require` has checked that one is configured."""
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


def client(
    account: CpaasAccount,
    settings: Settings,
    clock: Clock,
    stopping: threading.Event,
    tracer: Tracer | None = None,
) -> CpaasClient:
    """Return the client of the account; `stopping` interrupts its waits."""
    retry = RetryPolicy(in_process=settings.retry.in_process)
    return CpaasClient(account, clock, retry, stopping, skew=settings.reconcile.skew, tracer=tracer)
