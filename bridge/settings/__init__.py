"""Configuration: one TOML file; an environment variable can override each value (SPEC section 7).

`config/bridge.toml` is the reference: it has every key with its default and its meaning.
"""

from pydantic import SecretStr

from bridge.settings.load import SettingProblem, SettingsError, load
from bridge.settings.model import Settings
from bridge.settings.read import read
from bridge.settings.sections import (
    AddressSettings,
    AdminSettings,
    BrokerSettings,
    CommandSettings,
    CpaasSettings,
    EventSettings,
    IngestSettings,
    LedgerSettings,
    LimitSettings,
    LogSettings,
    ReconcileSettings,
    RetrySettings,
    SubmitSettings,
    SubscriptionSettings,
    WorkerSettings,
)
from bridge.settings.values import SecretUrl

__all__ = [
    "AddressSettings",
    "AdminSettings",
    "BrokerSettings",
    "CommandSettings",
    "CpaasSettings",
    "EventSettings",
    "IngestSettings",
    "LedgerSettings",
    "LimitSettings",
    "LogSettings",
    "ReconcileSettings",
    "RetrySettings",
    "SecretStr",
    "SecretUrl",
    "SettingProblem",
    "Settings",
    "SettingsError",
    "SubmitSettings",
    "SubscriptionSettings",
    "WorkerSettings",
    "load",
    "read",
]
