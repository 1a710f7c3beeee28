"""The configuration model: all sections, their keys, and the keys that are secret. All times are in seconds."""

from __future__ import annotations

from typing import get_args

from pydantic import SecretStr

from bridge.settings import values as v
from bridge.settings.sections import (
    AddressSettings,
    AdminSettings,
    BrokerSettings,
    CatchUpSettings,
    CommandSettings,
    CpaasSettings,
    EventSettings,
    IngestSettings,
    LedgerSettings,
    LimitSettings,
    LogSettings,
    ReceiptSettings,
    ReconcileSettings,
    RetrySettings,
    Section,
    SubmitSettings,
    SubscriptionSettings,
    TracingSettings,
    WorkerSettings,
)

#: Seconds.
DAY = 86_400.0


class Settings(Section):
    """The whole configuration, validated by `load`."""

    broker: BrokerSettings = BrokerSettings()
    commands: CommandSettings = CommandSettings()
    addresses: AddressSettings = AddressSettings()
    cpaas: CpaasSettings = CpaasSettings()
    ledger: LedgerSettings = LedgerSettings()
    worker: WorkerSettings = WorkerSettings()
    retry: RetrySettings = RetrySettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    limits: LimitSettings = LimitSettings()
    receipts: ReceiptSettings = ReceiptSettings()
    subscriptions: SubscriptionSettings = SubscriptionSettings()
    ingest: IngestSettings = IngestSettings()
    submit: SubmitSettings = SubmitSettings()
    catch_up: CatchUpSettings = CatchUpSettings()
    admin: AdminSettings = AdminSettings()
    events: EventSettings = EventSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()

    @property
    def shortest_retention(self) -> float:
        """The shortest allowed `ledger.retention`, in seconds.

        A broker that returns after hours redelivers finished commands. Those that are deleted are sent again.
        """
        return max(DAY, self.retry.max_age)


_FIELDS = {section: type(table).model_fields for section, table in Settings()}

#: All keys by section, in the order of declaration.
KEYS: dict[str, tuple[str, ...]] = {section: tuple(fields) for section, fields in _FIELDS.items()}


def _holds_secret(kind: object) -> bool:
    if isinstance(kind, type) and issubclass(kind, (SecretStr, v.SecretUrl)):
        return True
    return any(map(_holds_secret, get_args(kind)))


#: The keys that are secret, as `section.key`.
SECRETS = tuple(
    f"{section}.{key}"
    for section, fields in _FIELDS.items()
    for key, field in fields.items()
    if _holds_secret(field.annotation)
)
